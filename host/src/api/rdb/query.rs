//! Query strings, taken apart as the clients of this dialect write them: booleans in any case, keys that are repeated
//! for the items of a list, pages by number.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;
use uuid::Uuid;

use super::errors::{NOT_A, Refusal, UNKNOWN};
use super::moments;
use crate::api::error::ApiError;
use crate::model::FieldProblem;

/// How many items a page has that was not asked to have more or less.
const USUAL_PAGE: usize = 20;
/// More are refused, not cut off: clients take a page that is not full for the last one.
const LARGEST_PAGE: usize = 1000;

/// The parameters that nobody has taken yet.
pub struct Query {
    rest: Vec<(String, String)>,
    problems: Vec<FieldProblem>,
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub skip: usize,
    pub size: usize,
}

impl Page {
    /// The part of a list that is whole.
    pub fn of<T>(self, items: Vec<T>) -> Vec<T> {
        items.into_iter().skip(self.skip).take(self.size).collect()
    }
}

impl Query {
    /// None when it is not there or empty.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.one(name).filter(|text| !text.is_empty())
    }

    /// A key that may be repeated.
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        let mut found = self.all(name);
        found.retain(|text| !text.is_empty());
        found
    }

    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        let text = self.one(name)?;
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.refuse(name, &format!("{NOT_A}a boolean"), "true or false"),
        }
    }

    pub fn id(&mut self, name: &str) -> Option<Uuid> {
        let text = self.one(name)?;
        match text.parse() {
            Ok(id) => Some(id),
            Err(_) => self.refuse(name, &format!("{NOT_A}a UUID"), ""),
        }
    }

    pub fn moment(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.one(name)?;
        match moments::parse(&text) {
            Some(moment) => Some(moment),
            None => self.refuse(name, &format!("{NOT_A}a date and time"), moments::HELP),
        }
    }

    /// The order that a list is asked for; the first one if none is.
    pub fn order<T: Copy>(&mut self, orders: &[(&str, T)]) -> Option<T> {
        let Some(text) = self.one("order_by") else {
            return orders.first().map(|(_, order)| *order);
        };
        if let Some((_, order)) = orders.iter().find(|(name, _)| *name == text) {
            return Some(*order);
        }
        let names: Vec<&str> = orders.iter().map(|(name, _)| *name).collect();
        let help = format!("one of {}", names.join(", "));
        self.refuse("order_by", "is not an order of this list", &help)
    }

    pub fn page(&mut self) -> Page {
        let page = self.number("page", 1, i32::MAX as usize).unwrap_or(1);
        let size = self
            .number("page_size", 1, LARGEST_PAGE)
            .unwrap_or(USUAL_PAGE);
        Page {
            skip: (page - 1).saturating_mul(size),
            size,
        }
    }

    pub fn refuse<T>(&mut self, name: &str, reason: &str, help: &str) -> Option<T> {
        self.problems.push(FieldProblem::new(name, reason, help));
        None
    }

    /// Refused when anything was wrong or is left: a misspelled filter must not show everything.
    pub fn finish(mut self) -> Result<(), Refusal> {
        for (name, _) in std::mem::take(&mut self.rest) {
            let name: String = name.chars().take(64).collect();
            let _: Option<()> = self.refuse(&name, UNKNOWN, "");
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Refusal::Arguments(self.problems))
    }

    /// Also one that is empty.
    pub fn one(&mut self, name: &str) -> Option<String> {
        let mut found = self.all(name);
        if found.len() > 1 {
            self.refuse::<()>(name, "is given more than once", "give it once");
        }
        found.pop()
    }

    fn all(&mut self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.rest.retain_mut(|(key, value)| {
            let ours = key == name;
            if ours {
                found.push(std::mem::take(value));
            }
            !ours
        });
        found
    }

    fn number(&mut self, name: &str, least: usize, most: usize) -> Option<usize> {
        let text = self.one(name)?;
        let help = format!("a whole number from {least} to {most}");
        match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            Ok(_) => self.refuse(name, "is out of bounds", &help),
            Err(_) => self.refuse(name, &format!("{NOT_A}a whole number"), &help),
        }
    }

    fn parse(parts: &Parts) -> Result<Self, Refusal> {
        let rest = axum::extract::Query::try_from_uri(&parts.uri);
        let rest = rest.map_err(|_| Refusal::argument("query", "must be text in UTF-8", ""))?;
        Ok(Self {
            rest: rest.0,
            problems: Vec::new(),
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::parse(parts)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let request = axum::http::Request::get(format!("/?{text}")).body(());
        Query::parse(&request.unwrap().into_parts().0).unwrap()
    }

    #[test]
    fn values_are_read_as_clients_write_them() {
        let mut query = query(
            "a=True&b=false&tags=env%3Adev&tags=a+b&start=2024-01-02+03%3A04%3A05%2B00%3A00&empty=",
        );
        assert_eq!(query.boolean("a"), Some(true));
        assert_eq!(query.boolean("b"), Some(false));
        assert_eq!(query.texts("tags"), ["env:dev", "a b"]);
        assert_eq!(query.moment("start").unwrap().as_second(), 1_704_164_645);
        assert_eq!(query.text("empty"), None);
        assert!(query.finish().is_ok());
    }

    #[test]
    fn pages_are_bounded_and_never_cut_off() {
        let page = |text| {
            let mut query = query(text);
            let page = query.page();
            query.finish().map(|()| (page.skip, page.size))
        };
        assert_eq!(page(""), Ok((0, 20)));
        assert_eq!(page("page=3&page_size=7"), Ok((14, 7)));
        assert_eq!(page("page=2147483647&page_size=1000").unwrap().1, 1000);
        for bad in [
            "page=",
            "page=",
            "page=0",
            "page_size=0",
            "page_size=1001",
            "page=-1",
            "page=x",
        ] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_unknown_or_doubled_is_refused() {
        let mut query = query("name=a&name=b&nmae=c&order_by=size");
        query.text("name");
        assert_eq!(query.order(&[("name_asc", 1)]), None);
        let Err(Refusal::Arguments(problems)) = query.finish() else {
            panic!("refused");
        };
        let names: Vec<&str> = problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(names, ["name", "order_by", "nmae"]);
    }
}
