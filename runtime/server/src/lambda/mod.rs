//! The function service's API: uploads plugins and calls them, for the tools that AWS Lambda has. What it hides from the rest
//! of the server: its REST paths, wire types, packages, and the texts of its errors.

mod concurrency;
mod configuration;
mod fault;
mod functions;
mod invoke;
mod package;
mod policies;
mod route;
mod tags;
mod versions;
mod zip;

use axum::http::{Method, Uri};
use stepwell_engine::{AliasMove, Caller, Code, PageRequest};

use crate::{
    aws,
    limits::{FUNCTION_BODY_BYTES_MAX, INVOCATION_BODY_BYTES_MAX, PAGE_ITEMS_MAX},
    rest::{self, Answer, Api},
    serve::ServerState,
};
use fault::Fault;
pub use functions::FUNCTION_BOUNDS_HEADER;
pub use package::wasm_of_package;
use route::{Operation, Route};
pub use versions::PREVIOUS_VERSION_HEADER;

pub(crate) use route::{RATED, is_own_path, names as operation_names};

/// The function service's API.
#[derive(Debug)]
pub(crate) struct Functions;

/// One request that may be carried out.
type Call<'a> = rest::Call<'a, Functions>;

impl Api for Functions {
    const FAILED: &'static str = "ServiceException";
    const NOT_FOR_PAGES: &'static str = "a web page sent this request, and without authentication none but the console may upload or call functions; use an SDK or the command line";

    type Operation = Operation;
    type Route = Route;

    fn find(method: &Method, uri: &Uri) -> Result<Route, Fault> {
        route::find(method, uri)
    }

    fn operation(route: &Route) -> Operation {
        route.operation
    }

    fn about(route: &Route, body: &[u8]) -> String {
        route.about(body)
    }

    fn body_bytes_max(_: &ServerState, _: &Caller, operation: Operation) -> usize {
        body_bytes_max(operation)
    }

    fn operations_before() -> usize {
        aws::operation_names().len()
    }

    fn rejected(code: Code, message: String) -> Fault {
        fault::rejected(code, message)
    }

    fn unreadable(error: &serde_json::Error) -> Fault {
        Fault::not_json(&error.to_string())
    }

    fn body(fault: &Fault) -> Vec<u8> {
        fault::body(fault)
    }

    async fn alias_move(
        state: &ServerState,
        caller: &Caller,
        route: &Route,
        body: &[u8],
    ) -> Option<AliasMove> {
        versions::alias_move(state, caller, route, body).await
    }

    async fn serve(call: Call<'_>) -> Result<Answer, Fault> {
        call.route.check_account(&call.caller)?;
        serve(call).await
    }
}

/// Bytes of a request's body: code comes in few, payloads in many.
pub(crate) fn path_body_bytes_max(path: &str) -> usize {
    if path.trim_end_matches('/').ends_with("/invocations") {
        INVOCATION_BODY_BYTES_MAX
    } else {
        FUNCTION_BODY_BYTES_MAX
    }
}

fn body_bytes_max(operation: Operation) -> usize {
    match operation {
        Operation::CreateFunction | Operation::UpdateFunctionCode => FUNCTION_BODY_BYTES_MAX,
        Operation::Invoke
        | Operation::AddPermission
        | Operation::CreateAlias
        | Operation::DeleteAlias
        | Operation::DeleteFunction
        | Operation::DeleteFunctionConcurrency
        | Operation::GetAlias
        | Operation::GetFunction
        | Operation::GetFunctionCodeSigningConfig
        | Operation::GetFunctionConcurrency
        | Operation::GetFunctionConfiguration
        | Operation::GetPolicy
        | Operation::ListAliases
        | Operation::ListFunctions
        | Operation::ListTags
        | Operation::ListVersionsByFunction
        | Operation::PublishVersion
        | Operation::PutFunctionConcurrency
        | Operation::RemovePermission
        | Operation::TagResource
        | Operation::UntagResource
        | Operation::UpdateAlias
        | Operation::UpdateFunctionConfiguration => INVOCATION_BODY_BYTES_MAX,
    }
}

async fn serve(call: Call<'_>) -> Result<Answer, Fault> {
    match call.route.operation {
        Operation::AddPermission => policies::add(call).await,
        Operation::CreateAlias => versions::create_alias(call).await,
        Operation::CreateFunction => functions::create(call).await,
        Operation::DeleteAlias => versions::delete_alias(call).await,
        Operation::DeleteFunction => functions::delete(call).await,
        Operation::DeleteFunctionConcurrency => concurrency::remove(call).await,
        Operation::GetAlias => versions::get_alias(call).await,
        Operation::GetFunction => functions::get(call).await,
        Operation::GetFunctionCodeSigningConfig => functions::code_signing(call).await,
        Operation::GetFunctionConcurrency => concurrency::get(call).await,
        Operation::GetFunctionConfiguration => functions::get_configuration(call).await,
        Operation::GetPolicy => policies::get(call).await,
        Operation::Invoke => invoke::invoke(call).await,
        Operation::ListAliases => versions::list_aliases(call).await,
        Operation::ListFunctions => functions::list(call).await,
        Operation::ListTags => tags::list(call).await,
        Operation::ListVersionsByFunction => versions::list(call).await,
        Operation::PublishVersion => versions::publish(call).await,
        Operation::PutFunctionConcurrency => concurrency::put(call).await,
        Operation::RemovePermission => policies::remove(call).await,
        Operation::TagResource => tags::add(call).await,
        Operation::UntagResource => tags::remove(call).await,
        Operation::UpdateAlias => versions::update_alias(call).await,
        Operation::UpdateFunctionCode => functions::update_code(call).await,
        Operation::UpdateFunctionConfiguration => functions::update_configuration(call).await,
    }
}

impl Call<'_> {
    /// The page that a list asks for.
    fn page(&self) -> Result<PageRequest, Fault> {
        let items = self.route.query.get("MaxItems");
        let items = items.map(|text| {
            let number = text.parse::<u32>().ok().filter(|number| *number > 0);
            number.ok_or_else(|| {
                Fault::validation(&format!(
                    "Value '{text}' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"
                ))
            })
        });
        Ok(PageRequest {
            max_results: items.transpose()?.unwrap_or(0).min(PAGE_ITEMS_MAX),
            next_token: self.route.query.get("Marker").map(str::to_owned),
        })
    }
}
