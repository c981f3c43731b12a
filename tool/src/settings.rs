// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! All settings of a PD together, whichever instruction they are in.

use crate::check::Checker;
use crate::instruction::Target;
use crate::problem::{Problem, list};
use crate::source::At;
use crate::system::{Domain, number};

/// A setting's value.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub at: At,
    pub name: &'a str,
    pub value: &'a str,
}

/// The settings of one PD for one target.
pub struct Settings<'a> {
    /// The first instruction.
    pub at: At,
    domain: &'a Domain,
    target: Target,
    /// The device that they are about, if not all of the PD.
    device: Option<&'a str>,
    of_domain: Vec<Setting<'a>>,
    of_devices: Vec<(At, &'a str, Vec<Setting<'a>>)>,
}

impl<'a> Settings<'a> {
    /// The settings that `domain` has for `target`; `None` if it has no such instruction.
    pub fn collect(checker: &mut Checker<'a>, domain: &'a Domain, target: Target, devices: &[&str]) -> Option<Self> {
        let mut instructions = domain.instructions.iter().filter(|i| i.target == target).peekable();
        let at = instructions.peek()?.at;
        let mut settings = Self { at, domain, target, device: None, of_domain: Vec::new(), of_devices: Vec::new() };
        for instruction in instructions {
            let at = instruction.at;
            let mut own = Vec::new();
            let into = if instruction.device.is_some() { &mut own } else { &mut settings.of_domain };
            for (name, value) in &instruction.settings {
                if into.iter().any(|earlier: &Setting| earlier.name == name) {
                    checker.add(at, Problem::SettingTwice { setting: name.clone() });
                }
                into.push(Setting { at, name, value });
            }
            let Some(device) = &instruction.device else { continue };
            if !devices.contains(&device.as_str()) {
                checker.add(at, Problem::DeviceUnknown { device: device.clone(), known: list(devices) });
            } else if settings.describes(device) {
                checker.add(at, Problem::DeviceTwice { device: device.clone() });
            }
            settings.of_devices.push((at, device, own));
        }
        Some(settings)
    }

    /// Checks that there are no settings but those in `known`.
    pub fn check_known(&self, checker: &mut Checker<'a>, known: &[&str]) {
        for setting in self.of_domain.iter().filter(|setting| !known.contains(&setting.name)) {
            checker.add(setting.at, Problem::SettingUnknown { setting: setting.name.to_owned(), known: list(known) });
        }
    }

    /// The value of `name`, if it is set.
    pub fn get(&self, name: &str) -> Option<Setting<'a>> {
        self.of_domain.iter().find(|setting| setting.name == name).copied()
    }

    /// The value of `name`, which must be set.
    pub fn required(&self, checker: &mut Checker<'a>, name: &'static str) -> Option<Setting<'a>> {
        let setting = self.get(name);
        if setting.is_none() {
            let device = self.device.map_or(String::new(), |device| format!(" {device}"));
            let (pd, target) = (self.domain.name.clone(), format!("{}{device}", self.target.name()));
            checker.add(self.at, Problem::SettingMissing { pd, target, setting: name });
        }
        setting
    }

    /// Which of the `known` values `name` has, if it is set.
    pub fn choice<T: Copy>(&self, checker: &mut Checker<'a>, name: &'static str, known: &[(&str, T)]) -> Option<T> {
        let setting = self.get(name)?;
        let chosen = known.iter().find(|(value, _)| *value == setting.value);
        if chosen.is_none() {
            let (value, known) = (setting.value.to_owned(), list(known.iter().map(|(value, _)| value)));
            checker.add(setting.at, Problem::SettingValue { setting: name, value, known });
        }
        chosen.map(|(_, choice)| *choice)
    }

    /// The number that `name` is set to, if it is.
    pub fn number(&self, checker: &mut Checker<'a>, name: &'static str) -> Option<u64> {
        let setting = self.get(name)?;
        let number = number(setting.value);
        if number.is_none() {
            let (attribute, value) = (name, setting.value.to_owned());
            checker.add(setting.at, Problem::NumberSyntax { attribute, value });
        }
        number
    }

    /// Whether `device` is described, rightly or wrongly.
    pub fn describes(&self, device: &str) -> bool {
        self.of_devices.iter().any(|(_, described, _)| *described == device)
    }

    /// The settings of `device`, if it is described.
    pub fn device(&self, device: &str) -> Option<Self> {
        let (at, device, settings) = self.of_devices.iter().find(|(_, described, _)| *described == device)?;
        let (domain, target, of_domain) = (self.domain, self.target, settings.clone());
        Some(Self { at: *at, domain, target, device: Some(device), of_domain, of_devices: Vec::new() })
    }
}
