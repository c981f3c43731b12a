// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A plugin of QEMU that counts the instructions executed between marks.
//!
//! A mark is a HINT that the architecture has not allocated, and so a NOP: the program that is measured contains it, in a
//! guest as on bare QEMU. `hint #64 + n` begins an interval of operation n, `hint #127` ends it. Arguments are
//! `-plugin libcounter.so,out=PATH,program=ELF,program=ELF…`. When QEMU ends, the file PATH gets a table: in the first line
//! the names of its columns, then a line for each operation that was measured, with its number and what all its intervals
//! took: instructions in seL4, returns from there, instructions elsewhere and in each of the programs.
//!
//! Protection domains are linked to the same addresses: an instruction is a program's if the page that it is in, as the
//! machine's memory has it, is what the program has at that address. Domains of one program are one.
//!
//! It counts for one CPU: with several, the intervals of all would be mixed.

use object::{Object, ObjectSegment};
use plugin::{
    Block, Counters, Instruction, NO_REGISTERS, is_kernels, qemu_plugin_insn_haddr, qemu_plugin_insn_vaddr,
    qemu_plugin_register_atexit_cb, qemu_plugin_register_vcpu_insn_exec_cb, qemu_plugin_register_vcpu_tb_trans_cb,
    qemu_plugin_tb_get_insn, qemu_plugin_tb_n_insns, word,
};
use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::{fs, ptr, slice};

/// HINT #0: NOP. The number stands in bits 11 to 5.
const HINT: u32 = 0xd503_201f;
const BEGIN: usize = 64;
const END: usize = 127;
const OPERATIONS: usize = END - BEGIN;

/// ERET.
const RETURN: u32 = 0xd69f_03e0;

/// What is counted: these three, and the instructions of each program.
const PLACES: usize = 32;
const KERNEL: usize = 0;
const RETURNS: usize = 1;
const ELSEWHERE: usize = 2;
const PROGRAMS: usize = 3;

const PAGE: u64 = 4096;

/// What the counts of all instructions, by place, were when the interval began.
static START: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
/// The operation whose interval it is; none if `OPERATIONS`.
static CURRENT: AtomicUsize = AtomicUsize::new(OPERATIONS);
/// By operation and place, of the intervals that have ended.
static SUMS: [[AtomicU64; PLACES]; OPERATIONS] = [const { [const { AtomicU64::new(0) }; PLACES] }; OPERATIONS];
static PLUGIN: OnceLock<Plugin> = OnceLock::new();

struct Plugin {
    /// Where the table goes.
    file: String,
    programs: Vec<Program>,
    /// Of all instructions, by place.
    counts: Counters,
}

struct Program {
    name: String,
    /// Each with its address.
    segments: Vec<(u64, Vec<u8>)>,
}

/// QEMU has loaded the plugin, with `count` arguments.
///
/// # Safety
/// `arguments` are as many C strings.
// SAFETY: QEMU looks for this name, and there is one plugin of a library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    // SAFETY: the caller promises as many strings.
    let arguments = (0..usize::try_from(count).unwrap_or(0))
        .map(|index| unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy().into_owned());
    match parse(arguments) {
        // Not set before: QEMU loads the plugin once.
        Ok(plugin) => _ = PLUGIN.set(plugin),
        Err(error) => {
            eprintln!("counter: {error}");
            return -1;
        }
    }
    // SAFETY: `id` is this plugin's, and the callbacks have the types that the interface asks for.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        qemu_plugin_register_atexit_cb(id, exiting, ptr::null_mut());
    }
    0
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Plugin, Box<dyn Error>> {
    let counts =
        Counters::new(PLACES).ok_or("QEMU's way to count is not known here; remedy: use QEMU 7, 8, 9 or 10")?;
    let mut parsed = Plugin { file: String::new(), programs: Vec::new(), counts };
    for argument in arguments {
        match argument.split_once('=') {
            Some(("out", path)) => parsed.file = path.to_owned(),
            Some(("program", path)) if parsed.programs.len() < PLACES - PROGRAMS => {
                parsed.programs.push(Program::read(path.as_ref()).map_err(|error| format!("{path}: {error}"))?);
            }
            _ => return Err(format!("`{argument}` is unknown, or one too many; remedy: out=PATH, program=ELF").into()),
        }
    }
    Ok(parsed)
}

impl Program {
    fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let bytes = fs::read(path)?;
        let segments = object::File::parse(bytes.as_slice())?
            .segments()
            .map(|segment| Ok((segment.address(), segment.data()?.to_owned())))
            .collect::<object::Result<_>>()?;
        Ok(Self { name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), segments })
    }

    /// Whether the page at `address` is this program's, as far as a segment has it.
    fn has(&self, address: u64, page: &[u8]) -> bool {
        self.segments.iter().any(|(start, bytes)| {
            let (first, last) = (address.max(*start), address.saturating_add(PAGE).min(start + bytes.len() as u64));
            first < last
                && bytes[(first - start) as usize..(last - start) as usize]
                    == page[(first - address) as usize..(last - address) as usize]
        })
    }
}

/// Whose instruction it is.
///
/// # Safety
/// As of a callback for a translated block.
unsafe fn place(programs: &[Program], instruction: *const Instruction) -> usize {
    // SAFETY: the caller promises it.
    let (address, host) = unsafe { (qemu_plugin_insn_vaddr(instruction), qemu_plugin_insn_haddr(instruction)) };
    if is_kernels(address) {
        return KERNEL;
    }
    if host.is_null() {
        return ELSEWHERE;
    }
    let within = (address % PAGE) as usize;
    // SAFETY: a page of the machine is whole in QEMU's memory too. While a block is translated no instruction is executed;
    // a device that writes the page at this time would only spoil the comparison.
    let page = unsafe { slice::from_raw_parts(host.cast::<u8>().sub(within), PAGE as usize) };
    let program = programs.iter().position(|program| program.has(address - within as u64, page));
    program.map_or(ELSEWHERE, |index| PROGRAMS + index)
}

extern "C" fn translated(_id: u64, block: *mut Block) {
    let Some(Plugin { programs, counts, .. }) = PLUGIN.get() else { return };
    // SAFETY: QEMU gives a block that is valid during the callback, and so are its instructions.
    unsafe {
        for index in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            let place = place(programs, instruction);
            counts.count(instruction, place);
            let Some(word) = word(instruction) else { continue };
            if word == RETURN && place == KERNEL {
                counts.count(instruction, RETURNS);
            }
            let number = (word >> 5 & 0x7f) as usize;
            if word & !(0x7f << 5) == HINT & !(0x7f << 5) && number >= BEGIN {
                let data = ptr::without_provenance_mut(number);
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, marked, NO_REGISTERS, data);
            }
        }
    }
}

extern "C" fn marked(_cpu: c_uint, data: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    let number = data.addr();
    let counts = (0..PLACES).map(|place| plugin.counts.get(place));
    if number < END {
        CURRENT.store(number - BEGIN, Relaxed);
        START.iter().zip(counts).for_each(|(start, count)| start.store(count, Relaxed));
    } else if let Some(sums) = SUMS.get(CURRENT.swap(OPERATIONS, Relaxed)) {
        for ((sum, start), count) in sums.iter().zip(&START).zip(counts) {
            sum.fetch_add(count - start.load(Relaxed), Relaxed);
        }
    }
}

extern "C" fn exiting(_id: u64, _data: *mut c_void) {
    let Some(Plugin { file, programs, .. }) = PLUGIN.get() else { return };
    let names = ["operation", "seL4", "returns", "elsewhere"].into_iter();
    let names: Vec<_> = names.chain(programs.iter().map(|program| program.name.as_str())).collect();
    let mut text = names.join(" ");
    for (operation, sums) in SUMS.iter().enumerate() {
        let sums = sums.each_ref().map(|sum| sum.load(Relaxed));
        if sums.iter().sum::<u64>() > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, "\n{operation}");
            sums[..PROGRAMS + programs.len()].iter().for_each(|sum| _ = write!(text, " {sum}"));
        }
    }
    text.push('\n');
    if let Err(error) = fs::write(file, text) {
        eprintln!("counter: {file}: {error}");
    }
}
