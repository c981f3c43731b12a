// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Elements and their attributes.

use std::ops::RangeInclusive;

use crate::rule::{At, Result, Rule};

/// An element whose attributes are all known.
pub struct Element<'a> {
    node: roxmltree::Node<'a, 'a>,
    /// Its place.
    pub at: At,
}

impl<'a> Element<'a> {
    /// `node`, without a check of its attributes.
    pub fn new(node: roxmltree::Node<'a, 'a>) -> Self {
        let line = node.document().text_pos_at(node.range().start).row;
        Self { node, at: At { element: node.tag_name().name().to_owned(), line } }
    }

    /// Rejects attributes other than `known`.
    pub fn known(&self, known: &[&str]) -> Result<()> {
        match self.node.attributes().find(|attribute| !known.contains(&attribute.name())) {
            Some(unknown) => Err(self.at.attribute(unknown.name(), Rule::Attribute)),
            None => Ok(()),
        }
    }

    /// Tag name.
    pub fn name(&self) -> &'a str {
        self.node.tag_name().name()
    }

    /// The elements inside.
    pub fn children(&self) -> impl Iterator<Item = Element<'a>> {
        self.node.children().filter(roxmltree::Node::is_element).map(Element::new)
    }

    /// Rejects an element that is not known where it stands.
    pub fn unknown<T>(&self) -> Result<T> {
        Err(self.at.element(Rule::Element))
    }

    /// Whether there is text directly inside.
    pub fn has_text(&self) -> bool {
        self.node.children().any(|node| node.is_text() && !node.text().unwrap_or("").trim().is_empty())
    }

    /// An attribute.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.node.attribute(name)
    }

    /// An attribute that must be there.
    pub fn require(&self, name: &str) -> Result<&'a str> {
        self.get(name).ok_or_else(|| self.at.attribute(name, Rule::Missing))
    }

    /// A decimal or, after `0x`, hexadecimal number with `_` between its digits.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = text.replace('_', "");
        let number = match digits.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => digits.parse(),
        };
        number.map(Some).map_err(|_| self.at.attribute(name, Rule::Number(text.to_owned())))
    }

    /// A [`Self::number`] that must be there.
    pub fn require_number(&self, name: &str) -> Result<u64> {
        self.require(name)?;
        self.number(name).map(Option::unwrap_or_default)
    }

    /// A number within `range`, `default` if it is absent.
    pub fn number_within(&self, name: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64> {
        let value = self.number(name)?.unwrap_or(default);
        self.within(name, value.into(), range)
    }

    /// A decimal number within `range` that must be there.
    pub fn decimal(&self, name: &str, range: RangeInclusive<u64>) -> Result<u64> {
        let text = self.require(name)?;
        let value: i128 = text.parse().map_err(|_| self.at.attribute(name, Rule::Decimal(text.to_owned())))?;
        self.within(name, value, range)
    }

    fn within(&self, name: &str, value: i128, range: RangeInclusive<u64>) -> Result<u64> {
        u64::try_from(value)
            .ok()
            .filter(|value| range.contains(value))
            .ok_or_else(|| self.at.attribute(name, Rule::Range { value, min: *range.start(), max: *range.end() }))
    }

    /// `true` or `false`, `default` if it is absent.
    pub fn bool(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(self.at.attribute(name, Rule::choice(other, "'true' or 'false'"))),
        }
    }
}
