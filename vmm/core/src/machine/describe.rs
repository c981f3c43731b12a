// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The device tree that the guest finds.

use super::Images;
use crate::boot::Placement;
use crate::device::Device;
use crate::fdt::{CLOCK_PHANDLE, Full, GIC_PHANDLE, Interrupt, Tree};
use crate::gic::Version;
use crate::gic::v3::REDISTRIBUTOR_SIZE;
use crate::map::{self, Range};
use crate::virtio::mmio::Slots;

/// Frequency of the clock that the device tree gives the emulated peripherals, in Hz; nothing depends on it.
const PERIPHERAL_CLOCK: u32 = 24_000_000;

/// The device tree: what every guest has, then each device's own node.
pub(super) fn describe(
    tree: &mut Tree<'_>,
    vcpus: usize,
    ram: Range,
    images: &Images<'_>,
    placement: &Placement,
    devices: &[&dyn Device],
    virtio: Option<&Slots>,
) -> Result<(), Full> {
    tree.cells("#address-cells", &[2])?;
    tree.cells("#size-cells", &[2])?;
    tree.cells("interrupt-parent", &[GIC_PHANDLE])?;
    tree.string("compatible", "linux,dummy-virt")?;
    tree.string("model", "seL4 Rust VMM guest")?;
    tree.node("chosen", |tree| {
        tree.string("bootargs", images.bootargs)?;
        tree.string("stdout-path", "/pl011@9000000")?;
        if placement.initramfs.size == 0 {
            return Ok(());
        }
        let Range { base, size } = placement.initramfs;
        tree.property("linux,initrd-start", &base.to_be_bytes())?;
        tree.property("linux,initrd-end", &(base + size).to_be_bytes())
    })?;
    tree.node_at("memory", map::RAM_BASE, |tree| {
        tree.string("device_type", "memory")?;
        tree.reg(&[ram])
    })?;
    tree.node("cpus", |tree| {
        tree.cells("#address-cells", &[1])?;
        tree.cells("#size-cells", &[0])?;
        (0..vcpus).try_for_each(|n| {
            tree.node_at("cpu", n as u64, |tree| {
                tree.string("device_type", "cpu")?;
                tree.string("compatible", "arm,armv8")?;
                tree.string("enable-method", "psci")?;
                tree.cells("reg", &[n as u32])
            })
        })
    })?;
    tree.node("psci", |tree| {
        tree.strings("compatible", &["arm,psci-1.0", "arm,psci-0.2"])?;
        tree.string("method", "smc")
    })?;
    tree.node("timer", |tree| {
        tree.string("compatible", "arm,armv8-timer")?;
        tree.interrupts(&[Interrupt::timer(map::VTIMER_INTID, vcpus)])?;
        tree.string("interrupt-names", "virt")?;
        tree.flag("always-on")
    })?;
    tree.node("apb-pclk", |tree| {
        tree.string("compatible", "fixed-clock")?;
        tree.cells("#clock-cells", &[0])?;
        tree.cells("clock-frequency", &[PERIPHERAL_CLOCK])?;
        tree.cells("phandle", &[CLOCK_PHANDLE])
    })?;
    devices.iter().try_for_each(|device| device.describe(tree))?;
    virtio.map_or(Ok(()), |slots| slots.describe(tree))?;
    if images.dtb_fragment.is_empty() {
        return Ok(());
    }
    tree.merge(images.dtb_fragment)
}

pub(super) fn describe_interrupt_controller(tree: &mut Tree<'_>, version: Version, vcpus: usize) -> Result<(), Full> {
    let (compatible, frames) = match version {
        Version::V2 => ("arm,cortex-a15-gic", map::GICC),
        Version::V3 => ("arm,gic-v3", Range { size: vcpus as u64 * REDISTRIBUTOR_SIZE, ..map::GICR }),
    };
    tree.node_at("intc", map::GICD.base, |tree| {
        tree.string("compatible", compatible)?;
        tree.reg(&[map::GICD, frames])?;
        tree.flag("interrupt-controller")?;
        tree.cells("#interrupt-cells", &[3])?;
        tree.cells("phandle", &[GIC_PHANDLE])
    })
}
