# SPDX-License-Identifier: BSD-2-Clause
# Copyright 2026 The seL4 Rust VMM authors

# `make help` lists what can be asked for.

# What `make help` says of a variable stands behind it.
VARIABLES := BOARD CONFIG SYSTEM QEMU MICROKIT_SDK CONFIGS TEST FUZZ_SECONDS
BOARD ?= qemu_virt_aarch64#  a directory of board/, and a board of the SDK
CONFIG ?= debug#  a configuration of the SDK: debug, release, benchmark, smp-debug, …
SYSTEM ?= system.xml#  the system to build
DISK ?= build/disk.img#  the image of the disk of `make run`; by default a small file system, which keeps what is written
QEMU ?= qemu-system-aarch64#  the emulator
MICROKIT_SDK ?= $(or $(wildcard $(HOME)/microkit-sdk-2.3.0),$(DEVSDK))#  the seL4 Microkit SDK 2.3.0, or devsdk
CONFIGS ?= debug release smp-release#  the configurations that `make test` boots; smp-… where the SDK has it
TEST ?=#  the boot tests to run, if not all
FUZZ_SECONDS ?= 120#  how long `make fuzz` runs each target

DEVSDK := $(CURDIR)/build/devsdk/microkit-sdk-devsdk
# Set to nothing, on the command line, is as good as not set.
ifeq ($(MICROKIT_SDK),)
override MICROKIT_SDK := $(DEVSDK)
endif
TARGET := aarch64-unknown-none-softfloat
ifeq ($(MICROKIT_SDK),$(DEVSDK))
OUT := build/devsdk/$(BOARD)/$(CONFIG)
IMAGE := loader-devsdk.img
else
OUT := build/$(BOARD)/$(CONFIG)
IMAGE := loader.img
endif
KERNEL_CONFIG = $(MICROKIT_SDK)/board/$(BOARD)/$(CONFIG)/include/kernel/gen_config.json
export MICROKIT_SDK
export MICROKIT_BOARD := $(BOARD)
export MICROKIT_CONFIG := $(CONFIG)

# The PDs depend on the SDK's kernel, so each configuration has its own directory for cargo; all else shares one.
HOST_DIR := build/cargo
PD_DIR := $(OUT)/cargo
TOOL := $(HOST_DIR)/release/vmm-tool
HARNESS := $(HOST_DIR)/release/harness
COUNTER := $(HOST_DIR)/release/libcounter.so
PDS := vmm serial power timer idle blk net rng supervisor bad-blk
ELFS := vmm.elf serial_pl011.elf power.elf timer_arm.elf idle.elf blk_virtio.elf net_virtio.elf rng_virtio.elf supervisor.elf bad_blk.elf
GUESTS := build/guests/linux/versions build/guests/probe/Image build/guests/exits/Image build/guests/crash/Image build/guests/spin/Image build/guests/bench/initramfs.cpio
CARGO_FUZZ := build/fuzz/tools/bin/cargo-fuzz
FUZZ_TARGETS := $(patsubst vmm/core/fuzz/fuzz_targets/%.rs,%,$(wildcard vmm/core/fuzz/fuzz_targets/*.rs))
TESTS := $(wildcard ci/systems/*.xml systems/*.xml) build/tests/probe-smp-2.xml build/tests/probe-smp-4.xml
# With several cores, only what needs them, and what is named.
ifneq ($(filter smp-%,$(CONFIG)),)
TESTS := $(wildcard ci/systems/smp/*.xml) $(filter $(TEST:%=ci/systems/%.xml) $(TEST:%=build/tests/%.xml),$(TESTS))
endif

.DELETE_ON_ERROR:
.PHONY: all run trace list test soak bench clean help setup images lint host-test boot-test conformance sdk fuzz FORCE

all: $(OUT)/$(IMAGE) ## build the image of SYSTEM for BOARD and CONFIG (the default)

run: $(OUT)/$(IMAGE) $(HARNESS) $(DISK) ## boot it on QEMU; Ctrl-C or Ctrl-A x ends it
	@$(HARNESS) run --qemu $(QEMU) --board $(BOARD) --config $(CONFIG) --image $< --disk $(DISK)

trace: $(OUT)/$(IMAGE) $(HARNESS) $(DISK) ## as run, and write build/trace.json: exits, injections, notifications
	@$(HARNESS) trace --qemu $(QEMU) --board $(BOARD) --config $(CONFIG) --image $< --disk $(DISK) --output build/trace.json

test: lint host-test ## check formatting, lint, run the host's tests, and boot the test systems on devsdk and on the SDK
	@for sdk in $(sort $(DEVSDK) $(MICROKIT_SDK)); do \
	    $(MAKE) --no-print-directory conformance MICROKIT_SDK=$$sdk || exit; \
	    for config in $(CONFIGS); do \
	        case $$config in smp-*) [ -d "$$sdk/board/$(BOARD)/$$config" ] || continue ;; esac; \
	        $(MAKE) --no-print-directory boot-test MICROKIT_SDK=$$sdk CONFIG=$$config || exit; \
	    done; \
	done

BENCHES := $(patsubst %,$(OUT)/tests/%/$(IMAGE),bench exits exits-beside idle) $(patsubst %,$(OUT)/%/$(IMAGE),bench-io bench-pair)
bench: $(BENCHES) $(HARNESS) ## measure times, instructions and sizes, and compare them with their limits
	@$(HARNESS) bench --qemu $(QEMU) --board $(BOARD) --config $(CONFIG) --programs $(OUT) --counter $(COUNTER) \
	    --image $(OUT)/tests/bench/$(IMAGE) --exits-image $(OUT)/tests/exits/$(IMAGE) \
	    --beside-image $(OUT)/tests/exits-beside/$(IMAGE) --idle-image $(OUT)/tests/idle/$(IMAGE) \
	    --io-image $(OUT)/bench-io/$(IMAGE) --pair-image $(OUT)/bench-pair/$(IMAGE) \
	    --kernel build/guests/linux/Image --initramfs build/guests/bench/initramfs.cpio

list: ## list the values of SYSTEM that there are
	@for file in system.xml systems/*.xml; do \
	    printf '%-32s%s\n' $$file "$$(sed -n '5{s/^ *//;s/\. .*//;s/\.$$//;p;q}' $$file)"; \
	done

setup: build/toolchain/env.mk ## install what is missing: Debian packages and the Rust target

clean: ## remove everything built and downloaded
	rm -rf build

help: ## say this
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  %-12s %s\n", $$1, $$2 }'
	@echo 'Variables, with their values:'
	@$(foreach v,$(VARIABLES),printf '  %-12s %s: %s\n' $(v) "$$(sed -n 's/^$(v) ?=.*#  //p' Makefile)" '$(or $($(v)),none)';)

# The tools ----------------------------------------------------------------------------------------------------------

# Asks each time, which is quick; the file changes only when the answer does, and make then starts anew.
ifneq ($(filter-out clean help list,$(or $(MAKECMDGOALS),all)),)
-include build/toolchain/env.mk
endif
build/toolchain/env.mk: FORCE
	@ci/setup/packages
	@ci/setup/rust-target

$(TOOL) $(HARNESS) &: FORCE | build/toolchain/env.mk
	@cargo build --quiet --release --target-dir $(HOST_DIR) -p vmm-tool -p harness -p counter -p yielding

sdk: $(TOOL)
ifeq ($(MICROKIT_SDK),$(DEVSDK))
	@CARGO_TARGET_DIR=$(HOST_DIR) devsdk/build
endif
	@$(TOOL) check-sdk --sdk "$(MICROKIT_SDK)" --board $(BOARD) --config $(CONFIG)

# The guests ---------------------------------------------------------------------------------------------------------

build/guests/linux/versions: guests/linux/build guests/linux/init ci/setup/apt.sh | build/toolchain/env.mk
	@guests/linux/build

build/guests/probe/Image: FORCE | build/toolchain/env.mk
	@cargo build --quiet --release --target $(TARGET) --target-dir $(HOST_DIR) -p probe
	@install -C -D $(HOST_DIR)/$(TARGET)/release/probe $@

# Not among the guests' images: what guests write to it is no reason to pack an image again.
build/disk.img: guests/linux/disk | build/toolchain/env.mk
	@guests/linux/disk $@

# Its guests make file systems themselves.
build/tests/disk.img: guests/linux/disk guests/linux/load guests/linux/rate build/guests/linux/versions
	@mkdir -p $(@D)
	@guests/linux/disk $@ guests/linux/load guests/linux/rate build/guests/linux/tools/*

build/guests/exits/Image: FORCE | build/toolchain/env.mk
	@cargo build --quiet --release --target $(TARGET) --target-dir $(HOST_DIR) -p exits
	@install -C -D $(HOST_DIR)/$(TARGET)/release/exits $@

# An undefined instruction, before there are exception vectors.
build/guests/crash/Image:
	@mkdir -p $(@D)
	@head -c 4 /dev/zero >$@

# A branch to itself.
build/guests/spin/Image:
	@mkdir -p $(@D)
	@printf '\000\000\000\024' >$@

build/guests/bench/programs: FORCE | build/toolchain/env.mk
	@cargo build --quiet --release --target $(TARGET) --target-dir $(HOST_DIR) -p bench
	@for name in origin io idle; do install -C -D $(HOST_DIR)/$(TARGET)/release/$$name $(@D)/$$name || exit; done
	@touch -r $$(ls -t $(@D)/origin $(@D)/io $(@D)/idle | head -n 1) $@

# The kernel takes several archives in a row.
build/guests/bench/initramfs.cpio: build/guests/linux/versions build/guests/bench/programs
	@cd $(@D) && printf '%s\n' origin io idle | cpio --quiet --reproducible -R 0:0 -H newc -o | cat ../linux/initramfs.cpio - >initramfs.cpio

# The system ---------------------------------------------------------------------------------------------------------

$(OUT)/programs: sdk FORCE
	@cargo build --quiet --release --target $(TARGET) --target-dir $(PD_DIR) $(addprefix -p ,$(PDS))
	@for elf in $(ELFS); do install -C -D $(PD_DIR)/$(TARGET)/release/$${elf%.elf} $(OUT)/$$elf || exit; done
	@touch $@

# $(1): the directory; $(2): the system's file. An image is packed again only if something in it changed.
define image
$(1)/$(IMAGE): $(OUT)/programs $(GUESTS) $(2) board/$(BOARD)/board.dtd FORCE
	@$(TOOL) --board-dtd board/$(BOARD)/board.dtd --kernel-config $(KERNEL_CONFIG) --search-path build \
	    --search-path $(OUT) --output $(1) $(2)
	@if [ ! -e $$@ ] || [ -n "$$$$(find $(1)/system.xml $(1)/config $(OUT)/*.elf build/guests -newer $$@ -print -quit)" ]; then \
	    echo "packing $$@"; \
	    "$(MICROKIT_SDK)/bin/microkit" $(1)/system.xml --board $(BOARD) --config $(CONFIG) \
	        --search-path $(1) $(OUT) build -o $$@ -r $(1)/report.txt; \
	fi
endef
$(eval $(call image,$(OUT),$(SYSTEM)))
# The same with the first so many vCPUs.
build/tests/probe-smp-%.xml: ci/systems/probe-smp.xml
	@mkdir -p $(@D)
	@awk -F'"' '!/<vcpu / || $$2 < $*' $< >$@

$(foreach test,$(TESTS),$(eval $(call image,$(OUT)/tests/$(notdir $(test:.xml=)),$(test))))
$(eval $(call image,$(OUT)/bench-io,build/guests/bench/system.xml))
$(eval $(call image,$(OUT)/bench-pair,build/guests/bench/two-linux.xml))

# The system that `make run` boots, and the one with two guests, with programs that measure them.
build/guests/bench/system.xml: system.xml
build/guests/bench/two-linux.xml: systems/two-linux.xml
build/guests/bench/system.xml build/guests/bench/two-linux.xml:
	@mkdir -p $(@D)
	@sed 's,guests/linux/initramfs,guests/bench/initramfs,' $< >$@

images: $(OUT)/$(IMAGE) $(patsubst %.xml,$(OUT)/tests/%/$(IMAGE),$(notdir $(TESTS))) $(HARNESS)

# The tests ----------------------------------------------------------------------------------------------------------

lint: sdk ## check formatting, and lint for the host and the target
	cargo fmt --all --check
	cargo clippy --quiet --target-dir $(HOST_DIR) --all-targets -- -D warnings
	cargo clippy --quiet --target-dir $(HOST_DIR) --target $(TARGET) --release -p probe -p exits -p bench -- -D warnings
	cargo clippy --quiet --target-dir $(HOST_DIR) --target $(TARGET) --release -p devsdk-kernel --features debug -- -D warnings
	cargo clippy --quiet --target-dir $(PD_DIR) --target $(TARGET) --release $(addprefix -p ,$(PDS) devsdk-tests) -- -D warnings

host-test: | build/toolchain/env.mk ## run the tests that need no emulator
	cargo test --quiet --target-dir $(HOST_DIR)
	RUSTFLAGS='--cfg loom' cargo test --quiet --release --target-dir $(HOST_DIR)/loom -p queue --test loom

# What it finds new goes to build/fuzz/found: vmm/core/src/fuzz.rs says how that becomes part of the corpora.
fuzz: $(CARGO_FUZZ) ## fuzz each target of vmm/core/src/fuzz.rs for FUZZ_SECONDS; needs a network at first
	@cargo test --quiet --target-dir $(HOST_DIR) -p vmm-core --lib they_are_kept_for -- --nocapture
	@for target in $(FUZZ_TARGETS); do \
	    mkdir -p build/fuzz/found/$$target; \
	    echo "fuzz: $$target for $(FUZZ_SECONDS) s"; \
	    $(abspath $(CARGO_FUZZ)) run -s none --fuzz-dir vmm/core/fuzz --target-dir build/fuzz/cargo $$target \
	        build/fuzz/found/$$target vmm/core/fuzz/corpus/$$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=2400 \
	        -timeout=10 -print_final_stats=1 -artifact_prefix=build/fuzz/$$target- || exit; \
	done

$(CARGO_FUZZ): | build/toolchain/env.mk
	@ci/setup/packages g++
	cargo install cargo-fuzz --locked --root $(dir $(@D))

boot-test soak: images build/tests/disk.img
boot-test: ## boot the test systems, or those named by TEST, with one SDK and CONFIG
soak: ## the same with the tests that take long: many restarts and pauses, disks and networks in full
boot-test soak:
	$(HARNESS) test $(if $(filter soak,$@),--soak) --qemu $(QEMU) --board $(BOARD) --config $(CONFIG) --images $(OUT) --image $(IMAGE) \
	    --probe build/guests/probe/Image --disk build/tests/disk.img --logs $(OUT)/logs $(TEST)

conformance: sdk ## compare what domains see with what they saw on the real SDK
	CARGO_TARGET_DIR=$(PD_DIR) QEMU=$(QEMU) devsdk/tests/run
