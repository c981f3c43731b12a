// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The attribute `protection_domain`, re-exported and documented by `sel4-microkit`.

#![forbid(unsafe_code)]

use proc_macro::{TokenStream, TokenTree};

/// Makes a function the initialisation of the protection domain. See `sel4_microkit::protection_domain`.
#[proc_macro_attribute]
pub fn protection_domain(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut entry = match (options.is_empty(), function_name(item.clone())) {
        // The Microkit tool maps the stack, above an unmapped page, so that an overflow is a fault. One declared here would
        // lie among the domain's data.
        (false, _) => error("protection_domain takes no options: the stack is sized by stack_size in the system file"),
        (true, None) => error("protection_domain is for the function that initialises the protection domain"),
        (true, Some(name)) => code(&format!("::sel4_microkit::declare_protection_domain!({name});")),
    };
    entry.extend(item);
    entry
}

/// The identifier after the first `fn`, which none of a function's attributes and qualifiers can contain.
fn function_name(item: TokenStream) -> Option<String> {
    let mut tokens =
        item.into_iter().skip_while(|token| !matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"));
    match tokens.nth(1) {
        Some(TokenTree::Ident(name)) => Some(name.to_string()),
        _ => None,
    }
}

fn error(message: &str) -> TokenStream {
    code(&format!("::core::compile_error!({message:?});"))
}

fn code(text: &str) -> TokenStream {
    text.parse().expect("the macro writes valid tokens")
}
