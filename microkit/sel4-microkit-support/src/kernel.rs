// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The numbers of one kernel's ABI.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use crate::condition::Config;
use crate::sdk::Error;

/// What `sel4-microkit` is written for: AArch64 with the MCS scheduler and virtual machines. The Microkit builds every kernel
/// with MCS, and every AArch64 kernel with hypervisor support.
const NEEDED: [(&str, &str); 3] =
    [("SEL4_ARCH", "aarch64"), ("KERNEL_MCS", "true"), ("ARM_HYPERVISOR_SUPPORT", "true")];

/// Size of a small page.
const PAGE: u64 = 4096;

/// The constants of the generated module, by the name that the interface description gives each.
const SYSCALLS: [(&str, &str); 7] = [
    ("SYS_CALL", "Call"),
    ("SYS_REPLY_RECV", "ReplyRecv"),
    ("SYS_NB_SEND_RECV", "NBSendRecv"),
    ("SYS_SEND", "Send"),
    ("SYS_NB_SEND", "NBSend"),
    ("SYS_RECV", "Recv"),
    ("SYS_NB_RECV", "NBRecv"),
];
const INVOCATIONS: [(&str, &str); 10] = [
    ("TCB_READ_REGISTERS", "TCBReadRegisters"),
    ("TCB_WRITE_REGISTERS", "TCBWriteRegisters"),
    ("TCB_SUSPEND", "TCBSuspend"),
    ("TCB_RESUME", "TCBResume"),
    ("IRQ_ACK", "IRQAckIRQ"),
    ("VCPU_INJECT_IRQ", "ARMVCPUInjectIRQ"),
    ("VCPU_READ_REG", "ARMVCPUReadReg"),
    ("VCPU_WRITE_REG", "ARMVCPUWriteReg"),
    ("VCPU_ACK_VPPI", "ARMVCPUAckVPPI"),
    ("SMC_CALL", "ARMSMCCall"),
];
const FAULTS: [(&str, &str); 7] = [
    ("FAULT_CAP", "CapFault"),
    ("FAULT_UNKNOWN_SYSCALL", "UnknownSyscall"),
    ("FAULT_USER_EXCEPTION", "UserException"),
    ("FAULT_VM", "VMFault"),
    ("FAULT_VGIC_MAINTENANCE", "VGICMaintenance"),
    ("FAULT_VCPU", "VCPUFault"),
    ("FAULT_VPPI", "VPPIEvent"),
];

/// A kernel's numbers, as its SDK describes them.
pub struct Kernel {
    directory: PathBuf,
    sources: Vec<PathBuf>,
    invocations: Vec<String>,
    /// Every system call has a number; the flag says whether this kernel implements it.
    syscalls: Vec<(String, bool)>,
    faults: Vec<(String, u64)>,
    user_top: u64,
}

impl Kernel {
    /// Reads the description in `directory`, an SDK's `board/<board>/<config>`.
    pub(crate) fn read(directory: &Path) -> Result<Self, Error> {
        let mut sources = Vec::new();
        let mut read = |name: &str| {
            let path = directory.join(name);
            sources.push(path.clone());
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((path, text)),
                Err(error) => Err(Error::File { path, reason: error.to_string() }),
            }
        };

        let (path, text) = read("include/kernel/gen_config.json")?;
        let config = in_file(&path, Config::parse(&text))?;
        for (option, needed) in NEEDED {
            let found = config.value(option);
            if found != needed {
                return Err(Error::Kernel { path, option, found, needed });
            }
        }

        // The kernel counts its labels over these files in this order (api/invocation.h, sel4_arch, arch), from 1.
        let mut invocations = Vec::new();
        for file in ["object-api", "object-api-sel4-arch", "object-api-arch"] {
            let (path, text) = read(&format!("include/interfaces/{file}.xml"))?;
            in_file(&path, methods(&text, &config, &mut invocations))?;
        }
        let (path, text) = read("include/api/syscall.xml")?;
        let syscalls = in_file(&path, syscalls(&text, &config))?;
        let (path, text) = read("include/sel4/sel4_arch/types.pbf")?;
        let faults = in_file(&path, faults(&text))?;
        let (path, text) = read("address_space_constants.json")?;
        let user_top = in_file(&path, user_top(&text))?;
        Ok(Self { directory: directory.into(), sources, invocations, syscalls, faults, user_top })
    }

    /// The files that were read, for `cargo::rerun-if-changed`.
    pub fn sources(&self) -> &[PathBuf] {
        &self.sources
    }

    /// The directory of the kernel's C headers.
    pub fn include(&self) -> PathBuf {
        self.directory.join("include")
    }

    /// The labels of every invocation that this kernel has.
    pub fn invocations(&self) -> impl Iterator<Item = (&str, u64)> {
        self.invocations.iter().map(String::as_str).zip(1..)
    }

    /// The numbers of every system call that this kernel has.
    pub fn syscalls(&self) -> impl Iterator<Item = (&str, i64)> {
        let numbered = self.syscalls.iter().zip((i64::MIN..0).rev());
        numbered.filter(|((_, exists), _)| *exists).map(|((name, _), number)| (name.as_str(), number))
    }

    /// The labels of every fault that this kernel sends.
    pub fn faults(&self) -> impl Iterator<Item = (&str, u64)> {
        self.faults.iter().map(|(name, label)| (name.as_str(), *label))
    }

    /// The last address of a protection domain's address space.
    pub fn user_top(&self) -> u64 {
        self.user_top
    }

    /// The Rust constants that `sel4-microkit` is compiled with.
    pub fn constants(&self) -> Result<String, Error> {
        let missing =
            |name: &str| Error::File { path: self.directory.clone(), reason: format!("this kernel has no {name}") };
        let mut text = String::new();
        let mut constant = |name: &str, kind: &str, value: String| {
            writeln!(text, "pub(crate) const {name}: {kind} = {value};").expect("a String takes any text");
        };
        for (name, source) in SYSCALLS {
            let number = number(self.syscalls(), source).ok_or_else(|| missing(source))?;
            constant(name, "i64", number.to_string());
        }
        for (name, source) in INVOCATIONS {
            let label = number(self.invocations(), source).ok_or_else(|| missing(source))?;
            constant(name, "u64", label.to_string());
        }
        for (name, source) in FAULTS {
            let label = number(self.faults(), source).ok_or_else(|| missing(source))?;
            constant(name, "u64", label.to_string());
        }
        constant("DEBUG_PUT_CHAR", "Option<i64>", format!("{:?}", number(self.syscalls(), "DebugPutChar")));
        // The last page of the address space is where the Microkit tool maps the IPC buffer.
        constant("IPC_BUFFER", "usize", format!("{:#x}", self.user_top & !(PAGE - 1)));
        Ok(text)
    }
}

fn in_file<T>(path: &Path, result: Result<T, String>) -> Result<T, Error> {
    result.map_err(|reason| Error::File { path: path.into(), reason })
}

fn number<'a, N>(mut all: impl Iterator<Item = (&'a str, N)>, name: &str) -> Option<N> {
    all.find(|(present, _)| *present == name).map(|(_, number)| number)
}

fn name<'a>(node: Node<'a, '_>, attribute: &str) -> Result<&'a str, String> {
    node.attribute(attribute).ok_or_else(|| format!("a <{}> has no {attribute}", node.tag_name().name()))
}

/// Appends the labels of a file's methods. A method may be declared once for each of several conditions, and (marked
/// `duplicate`) by several interfaces: it has one label.
fn methods(text: &str, config: &Config, labels: &mut Vec<String>) -> Result<(), String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    for method in document.descendants().filter(|node| node.has_tag_name("method")) {
        let label = name(method, "id")?;
        if config.holds(method)? && !labels.iter().any(|known| known == label) {
            labels.push(label.into());
        }
    }
    Ok(())
}

/// The system calls in the order of their numbers, downward from -1: those of the MCS API, then the debug calls. A call
/// keeps its number whether or not this kernel implements it.
fn syscalls(text: &str, config: &Config) -> Result<Vec<(String, bool)>, String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let mut calls = Vec::new();
    for section in ["api-mcs", "debug"] {
        let section = document
            .descendants()
            .find(|node| node.has_tag_name(section))
            .ok_or_else(|| format!("no element <{section}>"))?;
        for group in section.children().filter(|node| node.has_tag_name("config")) {
            let exists = config.holds(group)?;
            for call in group.children().filter(|node| node.has_tag_name("syscall")) {
                calls.push((name(call, "name")?.into(), exists));
            }
        }
    }
    Ok(calls)
}

/// The tags of the union `seL4_Fault`. The file has been through the C preprocessor: only this kernel's tags are in it.
fn faults(text: &str) -> Result<Vec<(String, u64)>, String> {
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    if !lines.any(|words| words.starts_with(&["tagged_union", "seL4_Fault"])) {
        return Err("no tagged_union seL4_Fault".into());
    }
    let mut tags = Vec::new();
    for words in lines.take_while(|words| !words.starts_with(&["}"])) {
        if let ["tag", name, label] = words[..] {
            tags.push((name.into(), label.parse().map_err(|_| format!("tag {name}: {label} is not a number"))?));
        }
    }
    Ok(tags)
}

fn user_top(text: &str) -> Result<u64, String> {
    let constants: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let top = constants.get("vspace_user_top").and_then(|top| top.as_u64()).ok_or("no number vspace_user_top")?;
    if top < 2 * PAGE { Err(format!("vspace_user_top {top:#x} leaves no room")) } else { Ok(top) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FIXTURE, Sdk};

    fn fixture() -> Kernel {
        Sdk::open(FIXTURE).and_then(|sdk| sdk.kernel("any", "any")).unwrap()
    }

    /// Labels count from 1 over the three files in the kernel's order; what the configuration excludes takes no label, and
    /// what is declared twice takes one.
    #[test]
    fn labels_count_what_the_configuration_includes() {
        let expected = [
            ("TCBReadRegisters", 1),
            ("TCBConfigure", 2),
            ("TCBWriteRegisters", 3),
            ("TCBSuspend", 4),
            ("TCBResume", 5),
            ("IRQAckIRQ", 6),
            ("ARMSMCCall", 7),
            ("ARMPageMap", 8),
            ("ARMVCPUInjectIRQ", 9),
            ("ARMVCPUReadReg", 10),
            ("ARMVCPUWriteReg", 11),
            ("ARMVCPUAckVPPI", 12),
        ];
        assert!(fixture().invocations().eq(expected));
    }

    /// System calls count downward, and one that the kernel lacks keeps its number: here -8.
    #[test]
    fn syscalls_keep_their_number() {
        let kernel = fixture();
        assert_eq!(number(kernel.syscalls(), "Call"), Some(-1));
        assert_eq!(number(kernel.syscalls(), "NBRecv"), Some(-7));
        assert_eq!(number(kernel.syscalls(), "DebugHalt"), None);
        assert_eq!(number(kernel.syscalls(), "DebugPutChar"), Some(-9));
        assert_eq!(number(kernel.syscalls(), "Reply"), None, "not a call of the MCS API");
    }

    #[test]
    fn faults_are_the_tags_of_their_union_only() {
        let kernel = fixture();
        assert_eq!(number(kernel.faults(), "VMFault"), Some(6));
        assert_eq!(kernel.faults().count(), 9);
    }

    #[test]
    fn constants_are_complete() {
        let constants = fixture().constants().unwrap();
        assert_eq!(constants.lines().count(), SYSCALLS.len() + INVOCATIONS.len() + FAULTS.len() + 2);
        for line in [
            "pub(crate) const SYS_NB_SEND_RECV: i64 = -3;",
            "pub(crate) const VCPU_ACK_VPPI: u64 = 12;",
            "pub(crate) const DEBUG_PUT_CHAR: Option<i64> = Some(-9);",
            "pub(crate) const IPC_BUFFER: usize = 0xfffffff000;",
        ] {
            assert!(constants.lines().any(|present| present == line), "{line}\n{constants}");
        }
    }

    /// A damaged description is an error with its reason, not a wrong number.
    #[test]
    fn damaged_files_are_refused() {
        let config = Config::parse("{}").unwrap();
        assert!(Config::parse("[]").is_err());
        assert!(Config::parse("{").is_err());
        assert!(methods("<api><method/></api>", &config, &mut Vec::new()).is_err());
        assert!(methods("<api>", &config, &mut Vec::new()).is_err());
        assert!(syscalls("<syscalls><api-mcs/></syscalls>", &config).is_err());
        assert!(faults("tagged_union other {").is_err());
        assert!(faults("tagged_union seL4_Fault x {\n tag VMFault six\n}").is_err());
        assert!(user_top("{}").is_err());
        assert!(user_top(r#"{"vspace_user_top": 1}"#).is_err());
        let mut kernel = fixture();
        kernel.invocations.retain(|label| label != "TCBResume");
        let error = kernel.constants().unwrap_err().to_string();
        assert!(error.contains("this kernel has no TCBResume"), "{error}");
    }
}
