// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Every rule of the description is broken by one file of `sdf`, and the tool says so word for word. Where the real tool
//! is installed (`$HOME/microkit-sdk-2.3.0`), it accepts and rejects the same files, but for the listed differences.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files, and what the tool says about them: nothing if it accepts them.
const EXPECTED: &[(&str, &str)] = &[
    ("xml_not_closed", "5: not well-formed XML: expected 'protection_domain' tag, not 'system' at 5:1"),
    ("xml_doctype", "1: not well-formed XML: XML with DTD detected"),
    ("xml_other_root", "3: <systems>: the root element must be <system>"),
    ("xml_text", "3: <system>: text is not allowed here"),
    ("xml_accepted_instruction", ""),
    ("element_unknown", "4: <memory_regions>: the element is not allowed here"),
    ("element_unknown_in_domain", "6: <mapping>: the element is not allowed here"),
    ("domain_none", "3: <system>: required element <protection_domain> is missing"),
    ("domain_too_many", "3: <system>: there are 64, at most 63 are possible"),
    ("region_no_name", "4: <memory_region name>: required attribute is missing"),
    ("region_no_size", "4: <memory_region size>: a memory region without prefill needs a size"),
    ("region_attribute", "4: <memory_region vaddr>: the attribute is not allowed here"),
    ("region_size_malformed", "4: <memory_region size>: '0x1000k' is not a number"),
    ("region_size_unaligned", "4: <memory_region size>: 0x1800 is not a multiple of 0x1000"),
    (
        "region_size_large",
        "4: <memory_region size>: [0x0, 0xfffffffffffff000) is outside the address space, which ends at 0x10000000000",
    ),
    ("region_size_unaligned_large", "4: <memory_region size>: 0x1000 is not a multiple of 0x200000"),
    ("region_page_size", "4: <memory_region page_size>: '0x10000' is not 0x1000 or 0x200000"),
    ("region_phys_addr_unaligned", "4: <memory_region phys_addr>: 0x9000800 is not a multiple of 0x1000"),
    (
        "region_phys_addr_outside",
        "4: <memory_region phys_addr>: [0x10000000000, 0x10000001000) is outside the address space, which ends at 0x10000000000",
    ),
    (
        "region_phys_addr_interrupt_controller",
        "4: <memory_region phys_addr>: [0x8000000, 0x8001000) overlaps the kernel's interrupt controller",
    ),
    ("region_phys_addr_kernel", "4: <memory_region phys_addr>: [0x70000000, 0x70001000) overlaps devsdk's kernel"),
    ("prefill_not_found", "4: <memory_region prefill_path>: 'nowhere' is not in any search path"),
    ("prefill_directory", "4: <memory_region prefill_path>: cannot read 'directory': Is a directory (os error 21)"),
    ("prefill_empty", "4: <memory_region prefill_path>: 'empty' is empty"),
    ("prefill_too_long", "4: <memory_region prefill_path>: the file has 0x1001 bytes, the region only 0x1000"),
    ("prefill_bootinfo", "4: <memory_region prefill_bootinfo>: boot information records are not available on devsdk"),
    ("prefill_accepted", ""),
    ("region_accepted_fixed", ""),
    ("region_empty", "7: <map mr>: memory region 'm' has no bytes to map"),
    ("region_accepted_unused", ""),
    ("region_name_twice", "5: <memory_region name>: 'm' is already in use"),
    ("region_phys_addr_overlap", "5: <memory_region phys_addr>: [0x9001000, 0x9002000) overlaps memory region 'm'"),
    ("memory_exhausted", "5: <memory_region size>: no 0x40000000 bytes of RAM are free for region n"),
    ("io_address_space", "4: <io_address_space>: I/O address spaces are not available on AArch64"),
    ("scheduling_domains", "4: <domains>: scheduling domains are not available on devsdk"),
    ("domain_no_name", "4: <protection_domain name>: required attribute is missing"),
    ("domain_attribute", "4: <protection_domain prio>: the attribute is not allowed here"),
    ("domain_priority", "4: <protection_domain priority>: 255 is outside 0–254"),
    ("domain_priority_malformed", "4: <protection_domain priority>: 'high' is not a number"),
    ("domain_budget", "4: <protection_domain budget>: the budget of 1000 µs exceeds the period of 999 µs"),
    ("domain_passive", "4: <protection_domain passive>: 'yes' is not 'true' or 'false'"),
    ("domain_fpu", "4: <protection_domain fpu>: '1' is not 'true' or 'false'"),
    ("domain_smc", "4: <protection_domain smc>: '' is not 'true' or 'false'"),
    ("domain_stack_small", "4: <protection_domain stack_size>: 2048 is outside 4096–16777216"),
    ("domain_stack_large", "4: <protection_domain stack_size>: 16781312 is outside 4096–16777216"),
    ("domain_stack_unaligned", "4: <protection_domain stack_size>: 0x1800 is not a multiple of 0x1000"),
    ("domain_cpu", "4: <protection_domain cpu>: 1 is outside 0–0"),
    ("domain_name_monitor", "4: <protection_domain name>: the name 'monitor' is reserved"),
    ("domain_scheduling_domain", "4: <protection_domain domain>: scheduling domains are not available on devsdk"),
    ("domain_id_without_parent", "4: <protection_domain id>: the attribute is not allowed here"),
    ("domain_accepted_all_attributes", ""),
    ("domain_name_twice", "7: <protection_domain name>: 'a' is already in use"),
    ("domain_no_program", "4: <protection_domain>: required element <program_image> is missing"),
    ("domain_two_programs", "6: <program_image>: element <program_image> is allowed once only"),
    ("program_no_path", "5: <program_image path>: required attribute is missing"),
    ("program_attribute", "5: <program_image name>: the attribute is not allowed here"),
    ("program_not_found", "5: <program_image path>: 'nowhere.elf' is not in any search path"),
    ("program_symbols_not_found", "5: <program_image path_for_symbols>: 'nowhere.elf' is not in any search path"),
    ("program_not_elf", "5: <program_image path>: 'long' is not a program: Unsupported ELF header"),
    ("program_directory", "5: <program_image path>: cannot read 'directory': Is a directory (os error 21)"),
    (
        "program_other_machine",
        "5: <program_image path>: 'machine.elf' is not a program: it is for machine 62, not for AArch64",
    ),
    ("program_no_segments", "5: <program_image path>: 'no_segments.elf' is not a program: it has nothing to load"),
    (
        "program_shared_page",
        "5: <program_image path>: 'shared_page.elf' is not a program: two of its segments share a page",
    ),
    ("program_over_stack", "5: <program_image path>: [0xffffffd000, 0xffffffe000) overlaps the domain's stack"),
    ("program_without_symbols", "5: <program_image path>: 'bare.elf' has no symbol 'microkit_pps'"),
    (
        "program_symbol_short",
        "5: <program_image path>: symbol 'microkit_name' of 'short_name.elf' has 0 bytes, 1 are needed",
    ),
    (
        "program_symbol_outside",
        "5: <program_image path>: symbol 'microkit_irqs' of 'symbol_outside.elf' lies outside the program's segments",
    ),
    ("program_accepted_symbols", ""),
    ("child_no_id", "6: <protection_domain id>: required attribute is missing"),
    ("child_id_twice", "9: <protection_domain id>: '1' is already in use"),
    ("child_id_of_vcpu", "6: <protection_domain id>: '1' is already in use"),
    ("child_id_large", "6: <protection_domain id>: 62 is outside 0–61"),
    ("child_setvar_twice", "9: <protection_domain setvar_id>: 'value' is already in use"),
    ("map_attribute", "9: <map size>: the attribute is not allowed here"),
    ("map_no_region", "9: <map mr>: required attribute is missing"),
    ("map_no_vaddr", "9: <map vaddr>: required attribute is missing"),
    ("map_region_unknown", "9: <map mr>: there is no memory region 'x'"),
    ("map_unaligned", "9: <map vaddr>: 0x20000800 is not a multiple of 0x1000"),
    (
        "map_outside",
        "9: <map vaddr>: [0x10000000000, 0x10000001000) is outside the address space, which ends at 0xffffffc000",
    ),
    (
        "map_over_stack",
        "10: <map vaddr>: [0xffffffc000, 0xffffffd000) is outside the address space, which ends at 0xffffffc000",
    ),
    ("map_over_program", "9: <map vaddr>: [0x201000, 0x202000) overlaps the program's [0x200000, 0x202000)"),
    ("map_perms", "9: <map perms>: 'rwz' is not a combination of 'r', 'w' and 'x'"),
    ("map_perms_write_only", "9: <map perms>: write permission needs read permission"),
    ("map_cached", "9: <map cached>: 'no' is not 'true' or 'false'"),
    ("map_overlap", "10: <map vaddr>: [0x20001000, 0x20002000) overlaps the mapping of 'big'"),
    ("map_setvar_twice", "9: <map setvar_size>: 'value' is already in use"),
    ("map_setvar_not_prefilled", "9: <map setvar_prefill_size>: memory region 'm' is not prefilled"),
    ("setvar_no_symbol", "9: <setvar symbol>: required attribute is missing"),
    ("setvar_no_region", "9: <setvar region_paddr>: required attribute is missing"),
    ("setvar_region_unknown", "9: <setvar region_paddr>: there is no memory region 'x'"),
    ("setvar_attribute", "9: <setvar size>: the attribute is not allowed here"),
    ("setvar_symbol_unknown", "9: <setvar symbol>: 'program.elf' has no symbol 'nothing'"),
    ("setvar_symbol_size", "9: <setvar symbol>: symbol 'four' of 'program.elf' has 4 bytes, 8 are needed"),
    ("setvar_symbol_ambiguous", "9: <setvar symbol>: 'program.elf' has several symbols 'twice'"),
    ("setvar_twice", "10: <map setvar_vaddr>: 'value' is already in use"),
    ("map_accepted", ""),
    ("map_unaligned_large", "7: <map vaddr>: 0x20001000 is not a multiple of 0x200000"),
    ("irq_no_id", "6: <irq id>: required attribute is missing"),
    ("irq_no_number", "6: <irq irq>: required attribute is missing"),
    ("irq_attribute", "6: <irq polarity>: the attribute is not allowed here"),
    ("irq_id_large", "6: <irq id>: 62 is outside 0–61"),
    ("irq_id_negative", "6: <irq id>: -1 is outside 0–61"),
    ("irq_number_hexadecimal", "6: <irq irq>: '0x21' is not a decimal number"),
    ("irq_number_large", "6: <irq irq>: 1020 is outside 0–1019"),
    ("irq_trigger", "6: <irq trigger>: 'rising' is not 'level' or 'edge'"),
    ("irq_number_twice", "7: <irq irq>: '33' is already in use"),
    ("irq_id_twice", "7: <irq id>: '1' is already in use"),
    ("irq_setvar_twice", "7: <irq setvar_id>: 'value' is already in use"),
    ("irq_io_apic", "6: <irq>: I/O APIC and PCI interrupts are not available on AArch64"),
    ("irq_msi", "6: <irq>: I/O APIC and PCI interrupts are not available on AArch64"),
    ("ioport", "6: <ioport>: I/O ports are not available on AArch64"),
    ("channel_one_end", "10: <channel>: a channel has two ends, this one has 1"),
    ("channel_three_ends", "10: <channel>: a channel has two ends, this one has 3"),
    ("channel_element", "12: <start>: the element is not allowed here"),
    ("channel_attribute", "10: <channel name>: the attribute is not allowed here"),
    ("end_attribute", "11: <end pps>: the attribute is not allowed here"),
    ("end_no_domain", "11: <end pd>: required attribute is missing"),
    ("end_no_id", "11: <end id>: required attribute is missing"),
    ("end_domain_unknown", "11: <end pd>: there is no protection domain 'x'"),
    ("end_id_large", "11: <end id>: 62 is outside 0–61"),
    ("end_id_negative", "11: <end id>: -1 is outside 0–61"),
    ("end_id_hexadecimal", "11: <end id>: '0x1' is not a decimal number"),
    ("end_notify", "11: <end notify>: 'no' is not 'true' or 'false'"),
    ("end_pp", "11: <end pp>: 'no' is not 'true' or 'false'"),
    ("channel_calls_both_ways", "12: <end pp>: only one end of a channel may call the other"),
    ("channel_call_down", "12: <end pp>: 'b' (priority 1) may only call a domain of higher priority, and 'a' has 0"),
    ("end_setvar_twice", "12: <end setvar_id>: 'value' is already in use"),
    ("channel_id_twice", "15: <end id>: '1' is already in use"),
    ("channel_id_of_irq", "12: <end id>: '1' is already in use"),
    ("channel_accepted", ""),
    ("channel_to_itself", "12: <end id>: '1' is already in use"),
    ("machine_outside", "7: <virtual_machine>: a virtual machine must be inside a protection domain"),
    ("machine_no_name", "7: <virtual_machine name>: required attribute is missing"),
    ("machine_attribute", "7: <virtual_machine setvar_id>: the attribute is not allowed here"),
    ("machine_no_vcpu", "7: <virtual_machine>: required element <vcpu> is missing"),
    ("machine_element", "9: <irq>: the element is not allowed here"),
    ("machine_budget", "7: <virtual_machine budget>: the budget of 2 µs exceeds the period of 1 µs"),
    ("machine_priority", "7: <virtual_machine priority>: 300 is outside 0–255"),
    ("machine_twice", "10: <virtual_machine>: element <virtual_machine> is allowed once only"),
    ("vcpu_no_id", "8: <vcpu id>: required attribute is missing"),
    ("vcpu_id_large", "8: <vcpu id>: 62 is outside 0–61"),
    ("vcpu_id_twice", "9: <vcpu id>: '0' is already in use"),
    ("vcpu_cpu", "8: <vcpu cpu>: 1 is outside 0–0"),
    ("vcpu_attribute", "8: <vcpu priority>: the attribute is not allowed here"),
    ("machine_map_setvar", "9: <map setvar_vaddr>: the attribute is not allowed here"),
    ("machine_map_unknown", "9: <map mr>: there is no memory region 'x'"),
    (
        "machine_map_outside",
        "9: <map vaddr>: [0x10000000000, 0x10000001000) is outside the address space, which ends at 0x10000000000",
    ),
    ("machine_map_overlap", "10: <map vaddr>: [0x40000000, 0x40001000) overlaps the mapping of 'm'"),
    ("machine_accepted", ""),
    ("machine_name_twice", "12: <virtual_machine name>: 'v' is already in use"),
    ("cspace_attribute", "6: <cspace name>: the attribute is not allowed here"),
    ("cspace_twice", "7: <cspace>: element <cspace> is allowed once only"),
    ("cspace_element", "7: <cap_reply>: the element is not allowed here"),
    ("cap_attribute", "7: <cap_tcb id>: the attribute is not allowed here"),
    ("cap_no_slot", "7: <cap_tcb slot>: required attribute is missing"),
    ("cap_no_domain", "7: <cap_tcb pd>: required attribute is missing"),
    ("cap_slot_zero", "7: <cap_tcb slot>: 0 is outside 1–63"),
    ("cap_slot_large", "7: <cap_tcb slot>: 128 is outside 1–63"),
    ("cap_slot_64", "7: <cap_tcb slot>: 64 is outside 1–63"),
    ("cap_slot_twice", "8: <cap_sc slot>: '1' is already in use"),
    ("cap_domain_unknown", "7: <cap_vspace pd>: there is no protection domain 'x'"),
    ("cspace_accepted", ""),
];

/// Files that the real tool accepts and this one rejects, each with the reason.
const STRICTER: &[(&str, &str)] = &[
    ("cap_slot_64", "a root has 64 slots"),
    ("channel_to_itself", "the second end would silently take the first one's slots"),
    ("child_id_large", "it is beyond the documented range; from 64 on an id collides with a virtual CPU's slot"),
    ("irq_number_large", "no GICv2 has it"),
    ("machine_priority", "the real tool takes the priority modulo 256"),
    ("prefill_bootinfo", "devsdk has no boot information"),
    ("program_other_machine", "it cannot run"),
    ("region_phys_addr_kernel", "devsdk's kernel runs where the image is loaded"),
    ("scheduling_domains", "devsdk has one domain"),
];

fn descriptions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdf")
}

#[test]
fn every_file_is_in_the_table() {
    let files: BTreeSet<String> = fs::read_dir(descriptions())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let table: BTreeSet<String> = EXPECTED.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(files, table);
}

#[test]
fn each_broken_rule_is_named_in_one_line() {
    let directory = common::directory("diagnostics");
    let tool = Path::new(env!("CARGO_BIN_EXE_microkit"));
    let mut wrong = Vec::new();
    for (file, expected) in EXPECTED {
        fs::copy(descriptions().join(format!("{file}.xml")), directory.join("system.xml")).unwrap();
        let output = common::run(tool, &directory.join("sdk"), &directory, "system.xml".as_ref(), "loader.img");
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = match *expected {
            "" => String::new(),
            text => format!("microkit: error: system.xml:{text}\n"),
        };
        if said != expected || output.status.success() != expected.is_empty() {
            wrong.push(format!("{file}:\n  expected {expected:?}\n  got      {said:?}, {}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_real_tool_agrees() {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let sdk = home.join("microkit-sdk-2.3.0");
    let tool = sdk.join("bin/microkit");
    if !tool.exists() {
        println!("skipped: there is no {}", tool.display());
        return;
    }
    let directory = common::directory("real");
    let mut wrong = Vec::new();
    for (file, expected) in EXPECTED {
        let description = descriptions().join(format!("{file}.xml"));
        let output = common::run(&tool, &sdk, &directory, &description, "real.img");
        let stricter = STRICTER.iter().any(|(name, _)| name == file);
        if output.status.success() != (expected.is_empty() || stricter) {
            wrong.push(format!("{file}: {} {}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
