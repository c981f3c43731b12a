// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The interface that `devsdk/include` describes is the real kernel's: the same numbers, for all that devsdk has.
//!
//! The real SDK is looked for in `$HOME/microkit-sdk-2.3.0`; without it the comparison is skipped.

use std::fs;
use std::path::{Path, PathBuf};

use sel4_microkit_support::{Kernel, Sdk};

const BOARD: &str = "qemu_virt_aarch64";

/// The SDK that `devsdk/build` lays out, without programs.
fn devsdk() -> Sdk {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include");
    let sdk = Path::new(env!("CARGO_TARGET_TMPDIR")).join("include");
    for config in ["debug", "release"] {
        let board = sdk.join("board").join(BOARD).join(config);
        for (from, to) in [
            (format!("kernel/{config}.json"), "include/kernel/gen_config.json"),
            ("address_space_constants.json".to_owned(), "address_space_constants.json"),
            ("interfaces/object-api.xml".to_owned(), "include/interfaces/object-api.xml"),
            ("interfaces/object-api-sel4-arch.xml".to_owned(), "include/interfaces/object-api-sel4-arch.xml"),
            ("interfaces/object-api-arch.xml".to_owned(), "include/interfaces/object-api-arch.xml"),
            ("api/syscall.xml".to_owned(), "include/api/syscall.xml"),
            ("sel4/sel4_arch/types.pbf".to_owned(), "include/sel4/sel4_arch/types.pbf"),
        ] {
            let to = board.join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(source.join(from), to).unwrap();
        }
    }
    fs::write(sdk.join("VERSION"), "2.3.0\n").unwrap();
    Sdk::open(sdk).unwrap()
}

/// A kernel's numbers, each with its name.
fn numbers(kernel: &Kernel) -> Vec<(String, i128)> {
    let invocations = kernel.invocations().map(|(name, label)| (name.to_owned(), label.into()));
    let syscalls = kernel.syscalls().map(|(name, number)| (format!("{name}()"), number.into()));
    let faults = kernel.faults().map(|(name, label)| (format!("fault {name}"), label.into()));
    invocations.chain(syscalls).chain(faults).chain([("top".to_owned(), kernel.user_top().into())]).collect()
}

#[test]
fn numbers_are_the_real_kernel_s() {
    let devsdk = devsdk();
    let ours = |config| numbers(&devsdk.kernel(BOARD, config).unwrap());
    // Debug kernels have four more invocations before this one.
    assert!(ours("debug").contains(&("ARMVCPUInjectIRQ".to_owned(), 60)));
    assert!(ours("release").contains(&("ARMVCPUInjectIRQ".to_owned(), 56)));

    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let Ok(real) = Sdk::open(home.join("microkit-sdk-2.3.0")) else {
        println!("skipped: there is no real SDK");
        return;
    };
    for config in ["debug", "release"] {
        let real = numbers(&real.kernel(BOARD, config).unwrap());
        for number in ours(config) {
            assert!(real.contains(&number), "{config}: {number:?} is not in {real:?}");
        }
    }
}
