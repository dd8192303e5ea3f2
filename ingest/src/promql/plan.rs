//! From the text of a query to what is to be done, or why it is not done.

use std::time::{Duration, SystemTime};

use promql_parser::label::Matcher;
use promql_parser::parser::token::{self, TokenType};
use promql_parser::parser::{
    AggregateExpr, AtModifier, BinModifier, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector,
    Offset, VectorMatchCardinality, VectorSelector,
};

use super::combine::{Matching, Operator};
use super::eval::Each;
use super::group::{Aggregation, Grouping};
use super::over::Over;
use super::{
    Labels, NAME_LABEL, NESTING_MAX, OPERATORS_MAX, QUERY_BYTES_MAX, QueryError, REGEXES_MAX,
};

/// Times and spans beyond this many milliseconds, 285,000 years, are mistakes.
const MS_MAX: i64 = 1 << 53;

/// What a query asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// A number.
    Number(f64),
    /// The time of the step, in Unix seconds.
    Time,
    /// The newest sample of each series.
    Instant(Selector),
    /// Samples as they are; only as the whole of a query of an instant.
    Samples(Selector, i64),
    /// A function of each series' samples in a range, in milliseconds.
    Over(Over, Selector, i64),
    /// A function of each value, with further arguments.
    Each(Each, Box<Plan>, Vec<Plan>),
    /// A scalar as a vector.
    VectorOf(Box<Plan>),
    /// A vector of one element as a scalar.
    ScalarOf(Box<Plan>),
    /// An operator.
    Combine(Operator, Box<Plan>, Box<Plan>, Matching),
    /// An aggregation, with its argument.
    Group(Aggregation, Grouping, Option<Box<Plan>>, Box<Plan>),
}

/// Which series, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    matchers: Vec<Matcher>,
    /// Back from the step, in milliseconds; negative: forward.
    pub(super) offset_ms: i64,
    pub(super) at: At,
}

/// Which time a selector looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Step,
    Start,
    End,
    Time(i64),
}

impl Plan {
    /// Reads a query.
    ///
    /// # Errors
    /// When it is not PromQL, or not supported.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        plan(parsed(query)?)
    }
}

impl Selector {
    /// Reads a series selector, without a time.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let Expr::VectorSelector(selector) = parsed(text)? else {
            return bad(format!("{text:?} is not a series selector"));
        };
        if selector.at.is_some() || selector.offset.is_some() {
            return bad(format!(
                "{text:?} has a time, which a list of series has not"
            ));
        }
        select(selector)
    }

    /// Whether it means the series whose labels have these values.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> &'a str) -> bool {
        self.matchers
            .iter()
            .all(|matcher| matcher.is_match(value_of(&matcher.name)))
    }

    /// Whether it means the series with these labels.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(|name| labels.get(name))
    }
}

fn bad<T>(text: impl Into<String>) -> Result<T, QueryError> {
    Err(QueryError::BadData(text.into()))
}

fn unsupported<T>(what: impl Into<String>) -> Result<T, QueryError> {
    Err(QueryError::Unsupported(what.into()))
}

fn parsed(query: &str) -> Result<Expr, QueryError> {
    if query.trim().is_empty() {
        return bad("no query is given");
    }
    if query.len() > QUERY_BYTES_MAX {
        return bad(format!(
            "query has {} bytes (must be at most {QUERY_BYTES_MAX})",
            query.len()
        ));
    }
    check_shape(query)?;
    // The parser's own arithmetic of durations can panic on absurd ones.
    let result = std::panic::catch_unwind(|| promql_parser::parser::parse(query));
    match result {
        Ok(Ok(expr)) => Ok(expr),
        Ok(Err(text)) => bad(format!("parse error: {text}")),
        Err(_) => bad("parse error: the query can't be read"),
    }
}

/// Bounds what makes the parser recurse or work long, before it sees the text.
fn check_shape(query: &str) -> Result<(), QueryError> {
    let (mut depth, mut deepest, mut operators, mut regexes) = (0usize, 0, 0, 0);
    let mut word = String::new();
    let mut chars = query.chars();
    while let Some(c) = chars.next() {
        if c.is_ascii_alphanumeric() || c == '_' || c == ':' {
            word.push(c.to_ascii_lowercase());
            continue;
        }
        operators += usize::from(is_word_operator(&word));
        word.clear();
        match c {
            '"' | '\'' | '`' => skip_string(&mut chars, c),
            '#' => {
                chars.find(|c| *c == '\n');
            }
            '(' | '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '~' => regexes += 1,
            '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '=' | '!' => operators += 1,
            _ => {}
        }
    }
    for (what, count, max) in [
        ("brackets, one in another", deepest, NESTING_MAX),
        ("operators", operators, OPERATORS_MAX),
        ("regular expressions", regexes, REGEXES_MAX),
    ] {
        if count > max {
            return bad(format!("query has {count} {what} (must be at most {max})"));
        }
    }
    Ok(())
}

fn is_word_operator(word: &str) -> bool {
    matches!(word, "and" | "or" | "unless" | "atan2")
}

fn skip_string(chars: &mut std::str::Chars<'_>, quote: char) {
    while let Some(c) = chars.next() {
        if c == '\\' && quote != '`' {
            chars.next();
        } else if c == quote {
            return;
        }
    }
}

fn plan(expr: Expr) -> Result<Plan, QueryError> {
    match expr {
        Expr::NumberLiteral(number) => Ok(Plan::Number(number.val)),
        Expr::Paren(inner) => plan(*inner.expr),
        Expr::VectorSelector(selector) => Ok(Plan::Instant(select(selector)?)),
        Expr::MatrixSelector(MatrixSelector { vs, range }) => {
            Ok(Plan::Samples(select(vs)?, span_ms(range)?))
        }
        Expr::Unary(unary) => {
            let inner = Box::new(plan(*unary.expr)?);
            Ok(Plan::Each(Each::Negate, inner, Vec::new()))
        }
        Expr::Binary(binary) => combine(binary),
        Expr::Aggregate(aggregate) => group(aggregate),
        Expr::Call(call) => function(call),
        Expr::Subquery(_) => unsupported("a subquery"),
        Expr::StringLiteral(_) => unsupported("a string as an expression"),
        Expr::Extension(_) => unsupported("an extension"),
    }
}

fn select(selector: VectorSelector) -> Result<Selector, QueryError> {
    if !selector.matchers.or_matchers.is_empty() {
        return unsupported("\"or\" between matchers");
    }
    let mut matchers = selector.matchers.matchers;
    if let Some(name) = selector.name {
        let matcher = Matcher::new_metric_name_matcher(name);
        matchers.push(matcher.map_err(QueryError::BadData)?);
    }
    // Else an empty selector read everything that there is.
    if matchers.iter().all(|matcher| matcher.is_match("")) {
        return bad("vector selector must contain at least one non-empty matcher");
    }
    let offset_ms = match selector.offset {
        None => 0,
        Some(Offset::Pos(back)) => span_ms(back)?,
        Some(Offset::Neg(forward)) => -span_ms(forward)?,
    };
    let at = match selector.at {
        None => At::Step,
        Some(AtModifier::Start) => At::Start,
        Some(AtModifier::End) => At::End,
        Some(AtModifier::At(time)) => At::Time(time_ms(time)?),
    };
    Ok(Selector {
        matchers,
        offset_ms,
        at,
    })
}

fn span_ms(span: Duration) -> Result<i64, QueryError> {
    match i64::try_from(span.as_millis()) {
        Ok(ms) if ms <= MS_MAX => Ok(ms),
        _ => bad(format!("duration of {} s is too long", span.as_secs())),
    }
}

fn time_ms(time: SystemTime) -> Result<i64, QueryError> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => span_ms(after),
        Err(before) => Ok(-span_ms(before.duration())?),
    }
}

fn combine(binary: BinaryExpr) -> Result<Plan, QueryError> {
    let Some(operator) = Operator::of(binary.op) else {
        return unsupported(format!("operator {}", binary.op));
    };
    let matching = match binary.modifier {
        None => Matching::default(),
        Some(modifier) => matching(modifier)?,
    };
    let (left, right) = (plan(*binary.lhs)?, plan(*binary.rhs)?);
    Ok(Plan::Combine(
        operator,
        Box::new(left),
        Box::new(right),
        matching,
    ))
}

fn matching(modifier: BinModifier) -> Result<Matching, QueryError> {
    match modifier.card {
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => {}
        VectorMatchCardinality::ManyToOne(_) => return unsupported("group_left"),
        VectorMatchCardinality::OneToMany(_) => return unsupported("group_right"),
    }
    let fill = modifier.fill_values;
    if fill.lhs.is_some() || fill.rhs.is_some() {
        return unsupported("fill");
    }
    let (on, labels) = match modifier.matching {
        None => (false, Vec::new()),
        Some(LabelModifier::Include(labels)) => (true, labels.labels),
        Some(LabelModifier::Exclude(labels)) => (false, labels.labels),
    };
    Ok(Matching {
        on,
        labels,
        as_number: modifier.return_bool,
    })
}

fn group(aggregate: AggregateExpr) -> Result<Plan, QueryError> {
    let Some(aggregation) = Aggregation::of(aggregate.op) else {
        return unsupported(format!("aggregation {}", aggregate.op));
    };
    let grouping = match aggregate.modifier {
        None => Grouping::By(Vec::new()),
        Some(LabelModifier::Include(labels)) => Grouping::By(labels.labels),
        Some(LabelModifier::Exclude(mut labels)) => {
            labels.labels.push(NAME_LABEL.to_owned());
            Grouping::Without(labels.labels)
        }
    };
    let argument = match aggregate.param {
        None => None,
        Some(argument) => Some(Box::new(plan(*argument)?)),
    };
    let inner = Box::new(plan(*aggregate.expr)?);
    Ok(Plan::Group(aggregation, grouping, argument, inner))
}

fn function(call: Call) -> Result<Plan, QueryError> {
    let name = call.func.name;
    let mut arguments = call.args.args.into_iter().map(|argument| *argument);
    let first = arguments.next();
    if let Some(over) = Over::of(name) {
        return match first {
            Some(Expr::MatrixSelector(MatrixSelector { vs, range })) => {
                Ok(Plan::Over(over, select(vs)?, span_ms(range)?))
            }
            Some(Expr::Subquery(_)) => unsupported("a subquery"),
            _ => bad(format!("{name}() wants a range vector")),
        };
    }
    if name == "time" {
        return Ok(Plan::Time);
    }
    let first = match (name, first) {
        (_, Some(first)) => Box::new(plan(first)?),
        (_, None) => return unsupported(format!("function {name}() without an argument")),
    };
    match name {
        "vector" => return Ok(Plan::VectorOf(first)),
        "scalar" => return Ok(Plan::ScalarOf(first)),
        _ => {}
    }
    let Some(each) = Each::of(name) else {
        return unsupported(format!("function {name}()"));
    };
    let rest = arguments.map(plan).collect::<Result<_, _>>()?;
    Ok(Plan::Each(each, first, rest))
}

/// Operators by the parser's numbers.
impl Operator {
    fn of(token: TokenType) -> Option<Self> {
        Some(match token.id() {
            token::T_ADD => Operator::Add,
            token::T_SUB => Operator::Subtract,
            token::T_MUL => Operator::Multiply,
            token::T_DIV => Operator::Divide,
            token::T_MOD => Operator::Modulo,
            token::T_POW => Operator::Power,
            token::T_EQLC => Operator::Equal,
            token::T_NEQ => Operator::NotEqual,
            token::T_GTR => Operator::Above,
            token::T_LSS => Operator::Below,
            token::T_GTE => Operator::AtLeast,
            token::T_LTE => Operator::AtMost,
            token::T_LAND => Operator::And,
            token::T_LOR => Operator::Or,
            token::T_LUNLESS => Operator::Unless,
            _ => return None,
        })
    }
}

/// Aggregations by the parser's numbers.
impl Aggregation {
    fn of(token: TokenType) -> Option<Self> {
        Some(match token.id() {
            token::T_SUM => Aggregation::Sum,
            token::T_AVG => Aggregation::Average,
            token::T_MIN => Aggregation::Least,
            token::T_MAX => Aggregation::Greatest,
            token::T_COUNT => Aggregation::Count,
            token::T_GROUP => Aggregation::Group,
            token::T_STDDEV => Aggregation::Deviation,
            token::T_STDVAR => Aggregation::Variance,
            token::T_TOPK => Aggregation::Top,
            token::T_BOTTOMK => Aggregation::Bottom,
            _ => return None,
        })
    }
}
