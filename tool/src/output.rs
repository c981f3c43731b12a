// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What the tool writes: plain SDF, a list of who maps what, the configurations, and the kernels that had to be unpacked.

use crate::check::Products;
use crate::problem::{Hex, Report};
use crate::system::{Map, System};
use roxmltree::{Document, Node};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where every PD finds its configuration: below all images, which the linker starts at 0x20_0000.
const CONFIG_VADDR: &str = "0x10_0000";

/// Writes everything below `dir`. What is there already with the same content stays untouched, for `make`.
pub fn write(dir: &Path, document: &Document, system: &System, products: &Products, report: &mut Report) {
    let maps = (dir.join("maps.txt"), maps(system).into_bytes());
    let system = (dir.join("system.xml"), sdf(document, products).into_bytes());
    let configurations = products.configurations.iter().map(|configuration| {
        let mut bytes = configuration.bytes.clone();
        bytes.resize(config::FILE_SIZE, 0);
        (dir.join(config_path(&configuration.pd)), bytes)
    });
    let kernels = products.unpacked.iter().map(|(region, bytes)| (dir.join(image_path(region)), bytes.clone()));
    let files: Vec<(PathBuf, Vec<u8>)> = configurations.chain(kernels).chain([maps, system]).collect();
    for (path, bytes) in files {
        if let Err(error) = write_if_changed(&path, &bytes) {
            report.add_unwritable(&path, &error);
        }
    }
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, bytes)
}

fn config_path(pd: &str) -> String {
    format!("config/{pd}.bin")
}

fn image_path(region: &str) -> String {
    format!("images/{region}")
}

/// Which domain or guest maps each memory region of the system, where, and how. The configurations are left out.
fn maps(system: &System) -> String {
    let mut out = String::from("# Made by vmm-tool: who maps each memory region, at which address, and how.\n");
    for region in &system.regions {
        let kind = if region.is_device { ", at the physical address that system.xml says" } else { "" };
        let size = region.size.map_or("as large as its file".to_owned(), |size| format!("{} bytes", Hex(size)));
        let _ = writeln!(out, "\n{}: {size}{kind}", region.name);
        let mut list = |kind: &str, name: &str, maps: &[Map]| {
            for Map { vaddr, perms, cached, .. } in maps.iter().filter(|map| map.region == region.name) {
                let vaddr = Hex(vaddr.unwrap_or(0)).to_string();
                let cached = if *cached { "" } else { " uncached" };
                let _ = writeln!(out, "  {kind:<6} {name:<32} {vaddr:>14} {perms}{cached}");
            }
        };
        for domain in &system.domains {
            list("domain", &domain.name, &domain.maps);
            domain.guest.iter().for_each(|guest| list("guest", &guest.name, &guest.maps));
        }
    }
    out
}

/// The system as the Microkit tool takes it: no entities, no instructions, and the configurations mapped.
fn sdf(document: &Document, products: &Products) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out.push_str("<!-- Made by vmm-tool from system.xml and the board's description: edit those. -->\n");
    element(&mut out, document.root_element(), 0, products);
    out
}

fn element(out: &mut String, node: Node, depth: usize, products: &Products) {
    let mut inside = String::new();
    for configuration in &products.configurations {
        let pd = &configuration.pd;
        if node.id() == configuration.node {
            let map =
                [("mr", &*format!("config_{pd}")), ("vaddr", CONFIG_VADDR), ("perms", "r"), ("setvar_vaddr", "config")];
            tag(&mut inside, "map", map, depth + 1, "");
            for (symbol, region) in &configuration.paddrs {
                let variable = [("symbol", symbol.as_str()), ("region_paddr", region)];
                tag(&mut inside, "setvar", variable, depth + 1, "");
            }
        } else if node == node.document().root_element() {
            let region = [("name", &*format!("config_{pd}")), ("size", "0x1000"), ("prefill_path", &*config_path(pd))];
            tag(&mut inside, "memory_region", region, depth + 1, "");
        }
    }
    for child in node.children().filter(Node::is_element) {
        element(&mut inside, child, depth + 1, products);
    }
    let unpacked = (node.tag_name().name() == "memory_region")
        .then(|| products.unpacked.iter().find(|(region, _)| node.attribute("name") == Some(region)))
        .flatten()
        .map(|(region, _)| image_path(region));
    let attributes = node.attributes().map(|attribute| match (attribute.name(), &unpacked) {
        ("prefill_path", Some(path)) => ("prefill_path", path.as_str()),
        (name, _) => (name, attribute.value()),
    });
    tag(out, node.tag_name().name(), attributes, depth, &inside);
}

fn tag<'a>(
    out: &mut String,
    name: &str,
    attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    depth: usize,
    inside: &str,
) {
    let indent = "  ".repeat(depth);
    let mut start = format!("{indent}<{name}");
    for (name, value) in attributes {
        let _ = write!(start, " {name}=\"{}\"", escaped(value));
    }
    out.push_str(&start);
    if inside.is_empty() {
        out.push_str(" />\n");
    } else {
        let _ = writeln!(out, ">\n{inside}{indent}</{name}>");
    }
}

fn escaped(value: &str) -> String {
    value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
