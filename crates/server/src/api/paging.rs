//! Lists in pieces: a page of items and the cursor of the next.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;

/// Items of a page where nothing else is asked for.
const USUAL: usize = 50;
/// Items of a page, at most.
const MOST: usize = 200;

/// Which piece of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// Items of the page: 50 if not given, at most 200.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A piece of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Where the next page begins; null at the end.
    pub(super) next: Option<String>,
}

impl Paging {
    /// Returns how many items a page has, and the cursor, which `is_place` has to take.
    pub(super) fn bounds(&self, is_place: impl Fn(&str) -> bool) -> Result<(usize, Option<&str>), Problem> {
        let after = self.after.as_deref();
        if after.is_some_and(|after| after.len() > 256 || !is_place(after)) {
            return Err(Problem::bad("this cursor is none of ours"));
        }
        Ok((self.limit.unwrap_or(USUAL).clamp(1, MOST), after))
    }

    /// Cuts a page out of sorted items. `place` names an item's place in that order, so that a list that changed
    /// meanwhile goes on where it was.
    pub(super) fn cut<T>(
        &self,
        items: Vec<T>,
        place: impl Fn(&T) -> String,
        is_place: impl Fn(&str) -> bool,
    ) -> Result<Page<T>, Problem> {
        let (limit, after) = self.bounds(is_place)?;
        let rest =
            items.into_iter().skip_while(|item| after.is_some_and(|after| place(item).as_str() <= after));
        let mut items: Vec<T> = rest.take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(&place);
        Ok(Page { items, next })
    }
}

impl<T: Serialize> Page<T> {
    /// Ends the page before its items have more bytes of JSON than these; one that has more by itself comes alone.
    pub(super) fn within(mut self, most: usize, place: impl Fn(&T) -> String) -> Self {
        let mut total = 0_usize;
        let fits = |item: &&T| {
            total = total.saturating_add(json_bytes(item)).saturating_add(1);
            total <= most
        };
        let count = self.items.iter().take_while(fits).count().max(1);
        if count < self.items.len() {
            self.items.truncate(count);
            self.next = self.items.last().map(place);
        }
        self
    }
}

/// Counts what is written.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn json_bytes(value: &impl Serialize) -> usize {
    let mut count = Count(0);
    // What cannot be written does not become longer by it: the answer says so.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Takes so many decimal digits off the beginning of a text.
pub(super) fn digits(text: &str, count: usize) -> Option<&str> {
    let (digits, rest) = text.split_at_checked(count)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(rest)
}

/// Reads a field that may be null, and tells that from one that is not there.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(
    value: D,
) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(value).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: usize, after: Option<&str>) -> Page<u32> {
        let paging = Paging { limit: Some(limit), after: after.map(str::to_owned) };
        paging.cut((1..=5).collect(), |item| format!("{item:03}"), |_| true).expect("a page")
    }

    #[test]
    fn pages_go_on_where_the_one_before_ended() {
        let first = page(2, None);
        assert_eq!((first.items, first.next.as_deref()), (vec![1, 2], Some("002")));
        let second = page(2, Some("002"));
        assert_eq!((second.items, second.next.as_deref()), (vec![3, 4], Some("004")));
        let last = page(2, Some("004"));
        assert_eq!((last.items, last.next), (vec![5], None));
        assert_eq!(page(9, Some("zzz")).items, Vec::<u32>::new());
    }

    #[test]
    fn a_page_ends_before_it_is_too_large_and_one_large_item_comes_alone() {
        let of = |most, after: Option<&str>| {
            let paging = Paging { limit: None, after: after.map(str::to_owned) };
            let items = ["a2", "b2", "c, which is long", "d"].map(str::to_owned).to_vec();
            let place = |item: &String| item[..1].to_owned();
            paging.cut(items, place, |_| true).expect("a page").within(most, place)
        };
        let first = of(10, None);
        assert_eq!((first.items, first.next.as_deref()), (vec!["a2".to_owned(), "b2".to_owned()], Some("b")));
        let second = of(10, Some("b"));
        assert_eq!((second.items, second.next.as_deref()), (vec!["c, which is long".to_owned()], Some("c")));
        let last = of(10, Some("c"));
        assert_eq!((last.items, last.next), (vec!["d".to_owned()], None));
        assert_eq!(of(1_000, None).next, None);
    }

    #[test]
    fn a_page_is_never_empty_by_request_and_never_huge() {
        assert_eq!(page(0, None).items, [1]);
        let paging = Paging { limit: None, after: Some("12x".to_owned()) };
        assert!(paging.bounds(|text| digits(text, 2) == Some("")).is_err(), "a cursor of another kind");
        let paging = Paging { limit: Some(usize::MAX), after: None };
        assert_eq!(
            paging.cut((0..1000).collect(), u32::to_string, |_| true).expect("a page").items.len(),
            MOST
        );
    }
}
