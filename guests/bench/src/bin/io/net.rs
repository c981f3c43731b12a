// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The network: to QEMU's gateway, to the host behind it, and to another guest. The interface is up and has its address.

use crate::{repeat, time};
use bench::Stdout;
use bench::linux::{Errno, call, nr, read, write_all};
use core::fmt::Write;

const AF_INET: usize = 2;
const STREAM: usize = 1;
const DATAGRAM: usize = 2;
const RAW: usize = 3;
const IPPROTO_ICMP: usize = 1;
/// QEMU's gateway, which stands for the host.
const GATEWAY: [u8; 4] = [10, 0, 2, 2];
/// The guest that receives what another one sends, and its port there.
const RECEIVER: [u8; 4] = [10, 0, 2, 15];
const PORT: u16 = 5001;
const MIB: usize = 1 << 20;
/// Bytes that go over TCP each way.
const AMOUNT: usize = 32 * MIB;

pub fn measure(port: u16) -> Result<(), Errno> {
    ping()?;
    let datagrams = socket(End::Other, DATAGRAM, 0, GATEWAY, port)?;
    repeat::<9>("udp-send-64", 4000, |_| write_all(datagrams, &[0; 64]))?;
    let stream = socket(End::Other, STREAM, 0, GATEWAY, port)?;
    time::<10>("tcp-send", AMOUNT, || send_all(stream))?;
    let stream = socket(End::Other, STREAM, 0, GATEWAY, port)?;
    time::<11>("tcp-receive", AMOUNT, || receive_all(stream))
}

/// Sends to the guest that does [`receive`].
pub fn measure_send() -> Result<(), Errno> {
    let stream = socket(End::Other, STREAM, 0, RECEIVER, PORT)?;
    time::<13>("tcp-guests", AMOUNT, || send_all(stream))
}

/// Says when it listens, and receives from the first who connects.
pub fn receive() -> Result<(), Errno> {
    let listener = socket(End::Own, STREAM, 0, RECEIVER, PORT)?;
    // SAFETY: listen(listener, 1) touches no memory of this program.
    unsafe { call(nr::LISTEN, [listener, 1, 0, 0, 0, 0]) }?;
    writeln!(Stdout, "io: listening").map_err(|_| Errno(5))?;
    // SAFETY: accept(listener, NULL, NULL) touches no memory of this program.
    receive_all(unsafe { call(nr::ACCEPT, [listener, 0, 0, 0, 0, 0]) }?)
}

fn send_all(stream: usize) -> Result<(), Errno> {
    let buffer = [0; 64 << 10];
    (0..AMOUNT / buffer.len()).try_for_each(|_| write_all(stream, &buffer))?;
    const SHUT_WR: usize = 1;
    // SAFETY: shutdown(stream, SHUT_WR) touches no memory of this program.
    unsafe { call(nr::SHUTDOWN, [stream, SHUT_WR, 0, 0, 0, 0]) }?;
    // The other side closes when it has got all.
    if read(stream, &mut [0])? == 0 { Ok(()) } else { Err(Errno(71)) }
}

fn receive_all(stream: usize) -> Result<(), Errno> {
    let mut buffer = [0; 64 << 10];
    let mut received = 0;
    while let len @ 1.. = read(stream, &mut buffer)? {
        received += len;
    }
    if received == AMOUNT { Ok(()) } else { Err(Errno(71)) }
}

/// Which end of a socket, by the call that sets it.
#[repr(usize)]
enum End {
    Own = nr::BIND,
    Other = nr::CONNECT,
}

/// A socket, one end of which is `port` of `host`.
fn socket(end: End, kind: usize, protocol: usize, host: [u8; 4], port: u16) -> Result<usize, Errno> {
    /// `struct sockaddr_in`.
    #[repr(C)]
    struct Address {
        family: u16,
        port: [u8; 2],
        host: [u8; 4],
        zero: [u8; 8],
    }
    let address = Address { family: AF_INET as u16, port: port.to_be_bytes(), host, zero: [0; 8] };
    // SAFETY: socket(AF_INET, kind, protocol) touches no memory of this program; connect and bind (socket, address, size) read
    // the address.
    unsafe {
        let socket = call(nr::SOCKET, [AF_INET, kind, protocol, 0, 0, 0])?;
        call(end as usize, [socket, &raw const address as usize, size_of::<Address>(), 0, 0, 0])?;
        Ok(socket)
    }
}

/// Echo requests with 56 bytes of data, one after the other.
fn ping() -> Result<(), Errno> {
    const ECHO_REQUEST: u8 = 8;
    const IP_HEADER: usize = 20;
    let socket = socket(End::Other, RAW, IPPROTO_ICMP, GATEWAY, 0)?;
    repeat::<8>("ping", 1000, |n| {
        let mut request = [0; 64];
        let [high, low] = (n as u16).to_be_bytes();
        request[..8].copy_from_slice(&[ECHO_REQUEST, 0, 0, 0, b'i', b'o', high, low]);
        let words = request.as_chunks().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
        let sum = words.sum::<u32>();
        request[2..4].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        write_all(socket, &request)?;
        let mut reply = [0; 128];
        loop {
            let len = read(socket, &mut reply)?;
            if len == IP_HEADER + request.len() && reply[IP_HEADER] == 0 && reply[IP_HEADER + 6..][..2] == [high, low] {
                return Ok(());
            }
        }
    })
}
