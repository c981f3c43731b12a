// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A supervisor PD, and the drivers in it, which it starts again when they fault.

use crate::check::Checker;
use crate::image::SearchPath;
use crate::instruction::Target;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::system::Domain;
use config::{Child, MAX_CHILDREN};
use object::elf::{EM_AARCH64, FileHeader64, PF_W};
use object::read::elf::{ElfFile64, FileHeader};
use object::{LittleEndian, Object, ObjectSegment, SegmentFlags};

/// How often a driver is started again in ten seconds, unless the supervisor's settings say it.
const RESTART_LIMIT: u64 = 5;

/// What a program file says of how the program starts.
struct Program {
    entry: u64,
    /// Whether a variable has another initial value than zero.
    has_data: bool,
}

impl Program {
    fn load(files: &SearchPath, path: &str) -> Result<Self, Problem> {
        let bytes = files.load(path).map_err(|problem| match problem {
            Problem::ImageMissing { path, dirs } => Problem::ProgramMissing { path, dirs },
            other => other,
        })?;
        let unfit = |why: String| Problem::ProgramFormat { path: path.to_owned(), why };
        let elf = ElfFile64::<LittleEndian>::parse(&*bytes).map_err(|error| unfit(error.to_string()))?;
        let machine = FileHeader64::e_machine(elf.elf_header(), LittleEndian);
        if machine != EM_AARCH64 {
            return Err(unfit(format!("it is for machine {machine}")));
        }
        let writable = |flags| matches!(flags, SegmentFlags::Elf { p_flags, .. } if (p_flags & PF_W) == PF_W);
        let has_data = elf.segments().any(|segment| writable(segment.flags()) && segment.file_range().1 > 0);
        Ok(Self { entry: elf.entry(), has_data })
    }
}

impl<'a> Checker<'a> {
    /// The drivers in the supervisor `domain`.
    pub fn children(&mut self, domain: &'a Domain) -> Vec<Child> {
        let system = self.system;
        let id_in = |child: &Domain| child.parent.filter(|(parent, _)| *parent == domain.node).map(|(_, id)| id);
        let inside: Vec<_> = system.domains.iter().filter_map(|child| Some((child, id_in(child)?))).collect();
        let mut children = Vec::new();
        for (child, id) in &inside {
            let program = child.program.as_ref().map(|path| Program::load(self.files, path));
            let has_data = matches!(program, Some(Ok(Program { has_data: true, .. })));
            for (unfit, why) in [
                (child.is(Target::Vmm), "it is a VMM"),
                (child.passive, "it is passive"),
                (has_data, "variables of its program begin with other values than zero"),
            ] {
                if unfit {
                    let (pd, supervisor) = (child.name.clone(), domain.name.clone());
                    self.add(child.at, Problem::ChildUnfit { pd, why, supervisor });
                }
            }
            match program {
                Some(Ok(Program { entry, .. })) => {
                    let name = self.name(child.at, &child.name);
                    children.push(Child { name, id: (*id).into(), entry });
                }
                Some(Err(problem)) => self.add(child.at, problem),
                None => {}
            }
        }
        let (supervisor, count) = (domain.name.clone(), children.len());
        if inside.is_empty() {
            self.add(domain.at, Problem::SupervisorEmpty { supervisor });
        } else if count > MAX_CHILDREN {
            self.add(domain.at, Problem::ChildCount { supervisor, count, max: MAX_CHILDREN });
        }
        children
    }

    /// The setting `restart-limit`.
    pub fn restart_limit(&mut self, settings: &Settings<'a>) -> u64 {
        let Some(setting) = settings.get("restart-limit") else { return RESTART_LIMIT };
        setting.value.parse().unwrap_or_else(|_| {
            let (attribute, value) = ("restart-limit", setting.value.to_owned());
            self.add(setting.at, Problem::DecimalSyntax { attribute, value });
            RESTART_LIMIT
        })
    }

    /// Who is in another domain is in a supervisor: nobody else knows what to do with its faults.
    pub fn check_parents(&mut self, supervisors: &[&Domain]) {
        for child in &self.system.domains {
            let Some((parent, _)) = child.parent else { continue };
            if !supervisors.iter().any(|supervisor| supervisor.node == parent) {
                let name =
                    self.system.domains.iter().find(|domain| domain.node == parent).map(|domain| domain.name.clone());
                let (pd, parent) = (child.name.clone(), name.unwrap_or_default());
                self.add(child.at, Problem::ChildUnsupervised { pd, parent });
            }
        }
    }
}
