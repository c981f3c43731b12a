// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The kernel's numbers against the C headers of every AArch64 kernel in a Microkit SDK, as the C compiler reads them: the
//! ones that the build derives, and the tables of this crate that no configuration changes.
//!
//! The SDK is `MICROKIT_SDK`, or `~/microkit-sdk-2.3.0`; without one the test says so and is skipped.

use std::env;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sel4_microkit::{Error, MAX_MESSAGE_WORDS, REGISTER_ORDER, VcpuReg};
use sel4_microkit_support::{Kernel, Sdk, VERSION};

/// `seL4_VCPUReg_*` and `seL4_Error`.
const TABLES: [(&str, u64); 35] = [
    ("seL4_VCPUReg_SCTLR", VcpuReg::Sctlr as u64),
    ("seL4_VCPUReg_CPACR", VcpuReg::Cpacr as u64),
    ("seL4_VCPUReg_TTBR0", VcpuReg::Ttbr0 as u64),
    ("seL4_VCPUReg_TTBR1", VcpuReg::Ttbr1 as u64),
    ("seL4_VCPUReg_TCR", VcpuReg::Tcr as u64),
    ("seL4_VCPUReg_MAIR", VcpuReg::Mair as u64),
    ("seL4_VCPUReg_AMAIR", VcpuReg::Amair as u64),
    ("seL4_VCPUReg_CIDR", VcpuReg::Contextidr as u64),
    ("seL4_VCPUReg_ACTLR", VcpuReg::Actlr as u64),
    ("seL4_VCPUReg_AFSR0", VcpuReg::Afsr0 as u64),
    ("seL4_VCPUReg_AFSR1", VcpuReg::Afsr1 as u64),
    ("seL4_VCPUReg_ESR", VcpuReg::Esr as u64),
    ("seL4_VCPUReg_FAR", VcpuReg::Far as u64),
    ("seL4_VCPUReg_PAR", VcpuReg::Par as u64),
    ("seL4_VCPUReg_VBAR", VcpuReg::Vbar as u64),
    ("seL4_VCPUReg_TPIDR_EL1", VcpuReg::Tpidr as u64),
    ("seL4_VCPUReg_VMPIDR_EL2", VcpuReg::VmpidrEl2 as u64),
    ("seL4_VCPUReg_SP_EL1", VcpuReg::Sp as u64),
    ("seL4_VCPUReg_ELR_EL1", VcpuReg::Elr as u64),
    ("seL4_VCPUReg_SPSR_EL1", VcpuReg::Spsr as u64),
    ("seL4_VCPUReg_CNTV_CTL", VcpuReg::CntvCtl as u64),
    ("seL4_VCPUReg_CNTV_CVAL", VcpuReg::CntvCval as u64),
    ("seL4_VCPUReg_CNTVOFF", VcpuReg::Cntvoff as u64),
    ("seL4_VCPUReg_CNTKCTL_EL1", VcpuReg::Cntkctl as u64),
    ("seL4_InvalidArgument", Error::InvalidArgument as u64),
    ("seL4_InvalidCapability", Error::InvalidCapability as u64),
    ("seL4_IllegalOperation", Error::IllegalOperation as u64),
    ("seL4_RangeError", Error::RangeError as u64),
    ("seL4_AlignmentError", Error::AlignmentError as u64),
    ("seL4_FailedLookup", Error::FailedLookup as u64),
    ("seL4_TruncatedMessage", Error::TruncatedMessage as u64),
    ("seL4_DeleteFirst", Error::DeleteFirst as u64),
    ("seL4_RevokeFirst", Error::RevokeFirst as u64),
    ("seL4_NotEnoughMemory", Error::NotEnoughMemory as u64),
    ("seL4_MsgMaxLength", MAX_MESSAGE_WORDS as u64),
];

/// The words of fault messages, by the index at which `Fault` reads them.
const FAULT_WORDS: [(&str, u64); 15] = [
    ("seL4_VMFault_IP", 0),
    ("seL4_VMFault_Addr", 1),
    ("seL4_VMFault_PrefetchFault", 2),
    ("seL4_VMFault_FSR", 3),
    ("seL4_VCPUFault_HSR", 0),
    ("seL4_VGICMaintenance_IDX", 0),
    ("seL4_VPPIEvent_IRQ", 0),
    ("seL4_UnknownSyscall_X0", 0),
    ("seL4_UnknownSyscall_X7", 7),
    ("seL4_UnknownSyscall_FaultIP", 8),
    ("seL4_UserException_FaultIP", 0),
    ("seL4_UserException_Number", 3),
    ("seL4_CapFault_IP", 0),
    ("seL4_CapFault_Addr", 1),
    ("seL4_CapFault_InRecvPhase", 2),
];

/// A C program that compiles if every number agrees.
fn program(kernel: &Kernel) -> String {
    let mut text = String::from("#include <sel4/sel4.h>\n#include <stddef.h>\n");
    let mut check = |name: &str, number: i128| {
        writeln!(text, "_Static_assert({name} == {number}ll, \"{name} is not {number}\");").unwrap();
    };
    for (name, label) in kernel.invocations() {
        check(name, label.into());
    }
    check("nArchInvocationLabels", kernel.invocations().count() as i128 + 1);
    for (name, number) in kernel.syscalls() {
        check(&format!("(long)seL4_Sys{name}"), number.into());
    }
    for (name, label) in kernel.faults() {
        check(&format!("seL4_Fault_{name}"), label.into());
    }
    check("seL4_UserVSpaceTop", kernel.user_top().into());
    for (name, number) in TABLES.into_iter().chain(FAULT_WORDS) {
        check(name, number.into());
    }
    check("seL4_VCPUReg_Num", 24);
    check("seL4_NumErrors", 11);
    for register in REGISTER_ORDER {
        let field = match format!("{register:?}").to_lowercase() {
            name if name == "tpidrel0" => "tpidr_el0".into(),
            name if name == "tpidrroel0" => "tpidrro_el0".into(),
            name => name,
        };
        check(&format!("offsetof(seL4_UserContext, {field})"), 8 * (register as i128));
    }
    check("sizeof(seL4_UserContext)", 8 * REGISTER_ORDER.len() as i128);
    text
}

/// What the C compiler has to say, nothing if every number agrees. `-fsyntax-only` does not meet the assembly in the headers, so
/// any compiler for a 64-bit host will do.
fn compile(kernel: &Kernel, program: &str) -> String {
    let mut compiler = Command::new(env::var_os("CC").unwrap_or("cc".into()))
        .args(["-x", "c", "-std=gnu11", "-w", "-fsyntax-only", "-D__KERNEL_64__", "-I"])
        .arg(kernel.include())
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a C compiler, which Rust needs to link as well");
    compiler.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let output = compiler.wait_with_output().unwrap();
    if output.status.success() { String::new() } else { String::from_utf8_lossy(&output.stderr).into_owned() }
}

#[test]
fn the_numbers_are_those_of_the_sdks_headers() {
    let default = || env::home_dir().unwrap_or_default().join(format!("microkit-sdk-{VERSION}"));
    let directory = env::var_os("MICROKIT_SDK").map_or_else(default, PathBuf::from);
    let sdk = match Sdk::open(&directory) {
        Ok(sdk) => sdk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let mut checked = 0;
    for board in sdk.boards() {
        for config in sdk.configs(&board) {
            let kernel = match sdk.kernel(&board, &config) {
                Ok(kernel) => kernel,
                Err(reason) => {
                    println!("skipped {board} {config}: {reason}");
                    continue;
                }
            };
            if !kernel.include().join("sel4/sel4.h").is_file() {
                return println!("skipped: {} is devsdk, which has no C headers", directory.display());
            }
            kernel.constants().unwrap_or_else(|error| panic!("{error}"));
            let messages = compile(&kernel, &program(&kernel));
            assert!(messages.is_empty(), "{board} {config}:\n{messages}");
            // The oracle can fail: one wrong number is found.
            let wrong = program(&kernel).replace("(TCBSuspend == ", "(TCBSuspend == 1");
            assert!(compile(&kernel, &wrong).contains("TCBSuspend is not"), "{board} {config}");
            println!("checked {board} {config}");
            checked += 1;
        }
    }
    assert_ne!(checked, 0, "{}: no AArch64 kernel", directory.display());
}
