//! The codes of diagnostics: one table. Hides where their pages are kept.

/// How much a diagnostic weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The definition is refused.
    Error,
    /// The definition is accepted, and probably not what was meant.
    Warning,
}

impl Severity {
    /// `ERROR` or `WARNING`, as on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Warning => "WARNING",
        }
    }
}

macro_rules! codes {
    ($($name:ident $id:literal $severity:ident $aws:literal $title:literal;)*) => {
        /// What can be wrong with a definition.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $name,)* }

        impl Code {
            /// All codes in the order of their ids.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// Our stable id: `ASL012`.
            pub fn id(self) -> &'static str {
                match self { $(Code::$name => $id,)* }
            }

            /// The service's code: `MISSING_TRANSITION_TARGET`.
            pub fn aws(self) -> &'static str {
                match self { $(Code::$name => $aws,)* }
            }

            /// What is wrong, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)* }
            }

            fn page(self) -> &'static str {
                match self { $(Code::$name => include_str!(concat!("../codes/", $id, ".md")),)* }
            }
        }
    };
}

codes! {
    NotJson          "ASL001" Error   "INVALID_JSON_DESCRIPTION"  "the definition is not JSON";
    EmptyText        "ASL002" Error   "MISSING_DESCRIPTION"       "the definition is empty";
    NotObject        "ASL003" Error   "INVALID_JSON_DESCRIPTION"  "the definition is not a JSON object";
    TooLarge         "ASL004" Error   "SCHEMA_VALIDATION_FAILED"  "the definition is too large";
    TooDeep          "ASL005" Error   "TOO_DEEPLY_NESTED"         "the definition is nested too deeply";
    DoubledMember    "ASL006" Warning "SCHEMA_VALIDATION_FAILED"  "a member occurs twice in one object";
    Missing          "ASL010" Error   "SCHEMA_VALIDATION_FAILED"  "a required field is missing";
    Unsupported      "ASL011" Error   "SCHEMA_VALIDATION_FAILED"  "a field that does not belong here";
    MissingTarget    "ASL012" Error   "MISSING_TRANSITION_TARGET" "transition to a state that does not exist";
    WrongType        "ASL013" Error   "SCHEMA_VALIDATION_FAILED"  "a value of the wrong type";
    Empty            "ASL014" Error   "SCHEMA_VALIDATION_FAILED"  "a value that must not be empty";
    NotOneOf         "ASL015" Error   "SCHEMA_VALIDATION_FAILED"  "a word that is not one of those allowed";
    OutOfRange       "ASL016" Error   "SCHEMA_VALIDATION_FAILED"  "a number out of its range";
    Exclusive        "ASL018" Error   "SCHEMA_VALIDATION_FAILED"  "fields that exclude each other";
    LanguagePlace    "ASL019" Warning "SCHEMA_VALIDATION_FAILED"  "the query language stands among the states";
    OtherLanguage    "ASL020" Error   "SCHEMA_VALIDATION_FAILED"  "a field of the other query language";
    Downgrade        "ASL021" Error   "SCHEMA_VALIDATION_FAILED"  "a JSONPath state in a JSONata state machine";
    StateName        "ASL022" Error   "INVALID_STATE_NAME"        "a state name that is not allowed";
    DuplicateState   "ASL023" Error   "DUPLICATE_STATE_NAME"      "two states with one name";
    Unreachable      "ASL024" Error   "MISSING_TRANSITION_TARGET" "a state that nothing leads to";
    NoEnd            "ASL025" Error   "MISSING_END_STATE"         "no state ends the workflow";
    NoDefault        "ASL026" Warning "SCHEMA_VALIDATION_FAILED"  "a Choice state that may match nothing";
    ConstantRule     "ASL027" Warning "SCHEMA_VALIDATION_FAILED"  "a Choice rule that does not choose";
    BadPath          "ASL030" Error   "SCHEMA_VALIDATION_FAILED"  "a text that is no JSONPath";
    BadReference     "ASL031" Error   "SCHEMA_VALIDATION_FAILED"  "a text that is no reference path";
    BadTemplate      "ASL032" Error   "SCHEMA_VALIDATION_FAILED"  "a payload field that is neither path nor intrinsic function";
    LostResult       "ASL033" Warning "SCHEMA_VALIDATION_FAILED"  "a result that nothing takes over";
    BadExpression    "ASL034" Error   "INVALID_JSONATA_EXPRESSION" "a JSONata expression that cannot be read";
    Misused          "ASL035" Error   "UNSUPPORTED_JSONATA_EXPRESSION" "a JSONata expression reads what is not there";
    Unrooted         "ASL036" Error   "UNSUPPORTED_JSONATA_EXPRESSION" "a JSONata expression reads from nothing";
    NotString        "ASL037" Error   "SCHEMA_VALIDATION_FAILED"  "an intrinsic function that does not give a string";
    EmptyInput       "ASL038" Warning "SCHEMA_VALIDATION_FAILED"  "a field that reads from an empty input";
    BadResource      "ASL040" Error   "SCHEMA_VALIDATION_FAILED"  "a resource that is not known";
    Express          "ASL041" Error   "SCHEMA_VALIDATION_FAILED"  "something that Express workflows cannot do";
    MissingArgument  "ASL042" Error   "SCHEMA_VALIDATION_FAILED"  "an argument that the resource needs is missing";
    Heartbeat        "ASL043" Error   "SCHEMA_VALIDATION_FAILED"  "a heartbeat not shorter than the timeout";
    BadArgument      "ASL044" Error   "SCHEMA_VALIDATION_FAILED"  "an argument that the resource does not take";
    Unserved         "ASL045" Warning "UNSERVED_RESOURCE"         "a resource that this program does not serve";
    ExpressTime      "ASL046" Warning "SCHEMA_VALIDATION_FAILED"  "a wait longer than an Express execution lasts";
    TokenKept        "ASL047" Warning "SCHEMA_VALIDATION_FAILED"  "a task token that nobody is given";
    NoToken          "ASL048" Warning "SCHEMA_VALIDATION_FAILED"  "a task token where there is none";
    BadTimestamp     "ASL050" Error   "SCHEMA_VALIDATION_FAILED"  "a text that is no timestamp";
    BadWildcard      "ASL051" Warning "SCHEMA_VALIDATION_FAILED"  "a pattern with a stray backslash";
    AllNotAlone      "ASL060" Error   "SCHEMA_VALIDATION_FAILED"  "States.ALL beside other errors";
    AllNotLast       "ASL061" Error   "SCHEMA_VALIDATION_FAILED"  "States.ALL before the last handler";
    ReservedError    "ASL062" Warning "SCHEMA_VALIDATION_FAILED"  "an error name that never occurs";
    MaxDelay         "ASL063" Error   "SCHEMA_VALIDATION_FAILED"  "a maximum delay not above the interval";
    TakenError       "ASL064" Warning "SCHEMA_VALIDATION_FAILED"  "an error that an earlier handler takes";
    Unhandled        "ASL065" Warning "SCHEMA_VALIDATION_FAILED"  "an error that is never handled";
    LabelName        "ASL070" Error   "INVALID_LABEL_NAME"        "a label that is not allowed";
    DuplicateLabel   "ASL071" Error   "DUPLICATE_LABEL_NAME"      "two Map states with one label";
    InlineOnly       "ASL072" Warning "SCHEMA_VALIDATION_FAILED"  "a field of distributed Map states alone";
    ReaderConfig     "ASL073" Error   "SCHEMA_VALIDATION_FAILED"  "an item reader that cannot read";
    Concurrency      "ASL074" Warning "SCHEMA_VALIDATION_FAILED"  "a concurrency that a Map state does not reach";
    VariableName     "ASL080" Error   "SCHEMA_VALIDATION_FAILED"  "a variable name that is not allowed";
    Shadowing        "ASL081" Error   "SCHEMA_VALIDATION_FAILED"  "a variable of an outer scope assigned within";
    UnusedVariable   "ASL082" Warning "SCHEMA_VALIDATION_FAILED"  "a variable that is never read";
    UnknownVariable  "ASL083" Warning "SCHEMA_VALIDATION_FAILED"  "a variable that is never assigned";
    NoDollar         "ASL090" Warning "NO_DOLLAR"                 "a path in a field without .$";
    NoPath           "ASL091" Warning "NO_PATH"                   "a path in a field without Path";
    StaticResult     "ASL092" Warning "PASS_RESULT_IS_STATIC"     "a path in the result of a Pass state";
    UnknownMember    "ASL093" Warning "UNSUPPORTED_JSONATA_EXPRESSION" "a member that $states does not have";
    PathInJsonata    "ASL094" Warning "SCHEMA_VALIDATION_FAILED"  "a JSONPath in a JSONata state";
    JsonataInPath    "ASL095" Warning "SCHEMA_VALIDATION_FAILED"  "JSONata in a JSONPath state";
}

/// All codes with their titles, in the order of their ids.
pub fn codes() -> &'static [Code] {
    Code::ALL
}

/// The codes that have this code of the service (`MISSING_TRANSITION_TARGET`, in any case), in the order of their ids.
pub fn codes_of_service(aws: &str) -> Vec<Code> {
    let named = |code: &&Code| code.aws().eq_ignore_ascii_case(aws.trim());
    Code::ALL.iter().filter(named).copied().collect()
}

/// The page of a code (`ASL012`, in any case): what it means, why, how to mend, an example. Markdown.
pub fn explain(code: &str) -> Option<&'static str> {
    Code::ALL
        .iter()
        .find(|known| known.id().eq_ignore_ascii_case(code.trim()))
        .map(|known| known.page())
}
