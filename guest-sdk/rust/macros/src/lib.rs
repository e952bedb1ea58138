//! `#[task]`: turns a plain function into the exported handler of a component. Hides the export glue; use it through
//! the crate `stepwell-task`.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Error, FnArg, ItemFn, ReturnType, parse_macro_input};

/// Exports the function as this component's task.
///
/// The function takes the input (any `serde::Deserialize` type), and, if it likes, `&Context`; it returns
/// `Result<Output, TaskError>` with any `serde::Serialize` output. It stays an ordinary function: on a host build the
/// attribute adds nothing that runs, so unit tests call it directly. One task a crate.
///
/// ```text
/// #[stepwell_task::task]
/// fn charge(order: Order, ctx: &Context) -> Result<Receipt, TaskError> { … }
/// ```
#[proc_macro_attribute]
pub fn task(args: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let export = match check(&args.into(), &function) {
        Ok(takes_context) => export(&function, takes_context),
        Err(error) => error.to_compile_error(),
    };
    quote! {
        // Only the component's export calls a task; a host build may have nothing but its tests.
        #[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "called by the component's export"))]
        #function
        #export
    }
    .into()
}

/// Whether the function takes the context, or why it cannot be a task.
fn check(args: &Tokens, function: &ItemFn) -> Result<bool, Error> {
    let signature = &function.sig;
    if !args.is_empty() {
        return Err(Error::new_spanned(args, "`#[task]` takes no arguments"));
    }
    if let Some(asyncness) = signature.asyncness {
        return Err(Error::new_spanned(
            asyncness,
            "a task is a plain function; remove `async`: host calls block only this task",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &signature.generics,
            "a task has one input type; remove the generic parameters",
        ));
    }
    if let Some(receiver) = signature.receiver() {
        return Err(Error::new_spanned(
            receiver,
            "a task is a free function; remove `self`",
        ));
    }
    if matches!(signature.output, ReturnType::Default) {
        return Err(Error::new_spanned(
            signature,
            "a task returns `Result<Output, TaskError>`",
        ));
    }
    match signature.inputs.len() {
        1 => Ok(false),
        2 => match &signature.inputs[1] {
            FnArg::Typed(argument) if matches!(*argument.ty, syn::Type::Reference(_)) => Ok(true),
            other => Err(Error::new_spanned(
                other,
                "the second parameter is the context: `ctx: &Context`",
            )),
        },
        _ => Err(Error::new_spanned(
            &signature.inputs,
            "a task takes its input and, if it likes, the context: `fn task(input: Input, ctx: &Context)`",
        )),
    }
}

fn export(function: &ItemFn, takes_context: bool) -> Tokens {
    let name = &function.sig.ident;
    let call = if takes_context {
        quote! { |input, context| #name(input, context) }
    } else {
        quote! { |input, _context| #name(input) }
    };
    quote! {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct ExportedTask;
            impl ::stepwell_task::__export::Guest for ExportedTask {
                fn handle(
                    input: ::std::string::String,
                    context: ::stepwell_task::__export::WireContext,
                ) -> ::std::result::Result<::std::string::String, ::stepwell_task::__export::WireError> {
                    ::stepwell_task::__export::run(input, context, #call)
                }
            }
            ::stepwell_task::__export::export!(ExportedTask with_types_in ::stepwell_task::__export::bindings);
        };
    }
}
