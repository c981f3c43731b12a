// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! What a system description must keep to: one variant for each rule, and the diagnostic of its violation.

use std::fmt;

/// A rule that was violated.
#[derive(Debug, thiserror::Error)]
pub enum Rule {
    #[error("not well-formed XML: {0}")]
    Xml(roxmltree::Error),
    #[error("the root element must be <system>")]
    Root,
    #[error("text is not allowed here")]
    Text,
    #[error("the element is not allowed here")]
    Element,
    #[error("the attribute is not allowed here")]
    Attribute,
    #[error("required attribute is missing")]
    Missing,
    #[error("required element <{0}> is missing")]
    MissingElement(&'static str),
    #[error("element <{0}> is allowed once only")]
    Repeated(&'static str),
    #[error("'{0}' is not a number")]
    Number(String),
    #[error("'{0}' is not a decimal number")]
    Decimal(String),
    #[error("'{value}' is not {choices}")]
    Choice { value: String, choices: &'static str },
    #[error("{value} is outside {min}–{max}")]
    Range { value: i128, min: u64, max: u64 },
    #[error("{value:#x} is not a multiple of {unit:#x}")]
    Unaligned { value: u64, unit: u64 },
    #[error("'{0}' is already in use")]
    Duplicate(String),
    #[error("the name '{0}' is reserved")]
    Reserved(&'static str),
    #[error("there is no {kind} '{name}'")]
    Unknown { kind: &'static str, name: String },
    #[error("there are {count}, at most {max} are possible")]
    TooMany { count: usize, max: usize },

    #[error("the budget of {budget} µs exceeds the period of {period} µs")]
    Budget { budget: u64, period: u64 },
    #[error("write permission needs read permission")]
    WriteOnly,
    #[error("a virtual machine must be inside a protection domain")]
    MachineOutside,
    #[error("{0} are not available on AArch64")]
    Architecture(&'static str),
    #[error("{0} are not available on devsdk")]
    Devsdk(&'static str),

    #[error("a memory region without prefill needs a size")]
    SizeUnknown,
    #[error("cannot read '{path}': {reason}")]
    File { path: String, reason: String },
    #[error("'{0}' is not in any search path")]
    NotFound(String),
    #[error("'{0}' is empty")]
    Empty(String),
    #[error("the file has {file:#x} bytes, the region only {region:#x}")]
    PrefillTooLong { file: u64, region: u64 },
    #[error("memory region '{0}' is not prefilled")]
    NotPrefilled(String),
    #[error("memory region '{0}' has no bytes to map")]
    EmptyRegion(String),
    #[error("[{start:#x}, {end:#x}) is outside the address space, which ends at {limit:#x}")]
    Outside { start: u64, end: u128, limit: u64 },
    #[error("[{start:#x}, {end:#x}) overlaps {other}")]
    Overlap { start: u64, end: u64, other: String },
    #[error("no {size:#x} bytes of RAM are free for {what}")]
    OutOfMemory { size: u64, what: String },

    #[error("a channel has two ends, this one has {0}")]
    Ends(usize),
    #[error("only one end of a channel may call the other")]
    BothCall,
    #[error("'{caller}' (priority {low}) may only call a domain of higher priority, and '{callee}' has {high}")]
    CallDown { caller: String, low: u8, callee: String, high: u8 },

    #[error("'{path}' is not a program: {reason}")]
    Program { path: String, reason: String },
    #[error("'{path}' has no symbol '{symbol}'")]
    NoSymbol { path: String, symbol: String },
    #[error("'{path}' has several symbols '{symbol}'")]
    SymbolTwice { path: String, symbol: String },
    #[error("symbol '{symbol}' of '{path}' has {size} bytes, {expected} are needed")]
    SymbolSize { path: String, symbol: String, size: u64, expected: u64 },
    #[error("symbol '{symbol}' of '{path}' lies outside the program's segments")]
    SymbolPlace { path: String, symbol: String },
}

impl Rule {
    /// `value` is not among `choices`.
    pub fn choice(value: &str, choices: &'static str) -> Self {
        Self::Choice { value: value.to_owned(), choices }
    }
}

/// An element of the description, for diagnostics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// Tag name; empty for the document.
    pub element: String,
    /// Line, from 1.
    pub line: u32,
}

impl At {
    /// The violation of `rule` by an attribute of this element.
    pub fn attribute(&self, name: &str, rule: Rule) -> Error {
        Error { at: self.clone(), attribute: Some(name.to_owned()), rule: Box::new(rule) }
    }

    /// The violation of `rule` by this element.
    pub fn element(&self, rule: Rule) -> Error {
        Error { at: self.clone(), attribute: None, rule: Box::new(rule) }
    }
}

/// A violated rule and its place. Displayed as one line, to which the file's name is prefixed.
#[derive(Debug)]
pub struct Error {
    at: At,
    attribute: Option<String>,
    rule: Box<Rule>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at.line)?;
        if !self.at.element.is_empty() {
            write!(f, "<{}", self.at.element)?;
            if let Some(attribute) = &self.attribute {
                write!(f, " {attribute}")?;
            }
            write!(f, ">: ")?;
        }
        write!(f, "{}", self.rule)
    }
}

impl std::error::Error for Error {}

/// The result of checking a part of the description.
pub type Result<T> = std::result::Result<T, Error>;
