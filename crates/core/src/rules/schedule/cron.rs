//! Cron expressions on the clocks of time zones.

use crate::error::Error;
use croner::parser::CronParser;
use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{Offset, TimeZone},
};

/// Far enough from a change of the clock that it has no say any more.
const FAR: SignedDuration = SignedDuration::from_hours(48);

/// A cron expression and the zone whose clock it reads.
#[derive(Clone, Debug)]
pub(super) struct Cron {
    fields: croner::Cron,
    zone: TimeZone,
    /// It says `*` for the hour: it goes by what the clock shows, whichever way that was put. All others stand for
    /// certain times of the day, each to fire once.
    flows: bool,
}

/// A stretch of time in which a zone's clock is not put forward or back.
struct Stretch {
    offset: Offset,
    /// When it began, and what the clock would have shown had it not been changed then.
    began: Option<(Timestamp, DateTime)>,
    /// When it ends.
    ends: Option<Timestamp>,
}

impl Cron {
    /// Reads five, six or seven fields or a descriptor, with `TZ=…` before it or a zone beside it.
    pub(super) fn read(text: &str, zone: Option<&str>) -> Result<Self, Error> {
        let text = text.trim();
        let (within, fields) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
            Some(rest) => {
                rest.split_once(char::is_whitespace).map_or((Some(rest), ""), |(z, f)| (Some(z), f))
            }
            None => (None, text),
        };
        if let (Some(within), Some(beside)) = (within, zone) {
            let fault =
                format!("two time zones are given, {within:?} in the cron expression and zone {beside:?}");
            return Err(Error::invalid("XB1012", fault).with_hint("give one of them"));
        }
        let zone = match within.or(zone) {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                Error::invalid("XB1012", format!("there is no time zone {name:?}"))
                    .with_hint("use an IANA name such as Europe/Berlin or UTC")
            })?,
        };
        let fields = parse(fields.trim()).map_err(|fault| {
            Error::invalid("XB1012", format!("cron expression {text:?} makes no sense: {fault}")).with_hint(
                "minute hour day month weekday, e.g. \"0 9 * * MON-FRI\"; with seconds before or a year after \
                 them; or @yearly, @monthly, @weekly, @daily, @hourly, \"@every 1h30m\"",
            )
        })?;
        let flows = fields.pattern.hours.from_wildcard;
        let cron = Self { fields, zone, flows };
        if cron.next(Timestamp::UNIX_EPOCH).is_none() {
            return Err(Error::invalid("XB1012", format!("cron expression {text:?} never fires")));
        }
        Ok(cron)
    }

    /// The first time strictly after a moment.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut stretch = self.stretch(after);
        let mut found = self.search(stretch.offset.to_datetime(after), false);
        loop {
            let civil = found?;
            let time = stretch.offset.to_timestamp(civil).ok();
            let Some(ends) = stretch.ends else { return time };
            if time.is_some_and(|time| time < ends) {
                return time;
            }
            // Nothing between here and there: go on shortly before it.
            let near = time?.checked_sub(FAR).ok()?;
            if near > ends {
                stretch = self.stretch(near);
                found = self.search(stretch.offset.to_datetime(near), false);
                continue;
            }
            let (before, offset) = (stretch.offset.to_datetime(ends), self.zone.to_offset(ends));
            let shows = offset.to_datetime(ends);
            if !self.flows && shows > before && civil < shows {
                return Some(ends);
            }
            stretch = self.stretch(ends);
            let from = if self.flows { shows } else { shows.max(before) };
            found = self.search(from, true);
        }
    }

    /// The last time at or before a moment.
    pub(super) fn last(&self, until: Timestamp) -> Option<Timestamp> {
        let mut stretch = self.stretch(until);
        let mut found = self.search_back(stretch.offset.to_datetime(until), true);
        loop {
            let civil = found?;
            let time = stretch.offset.to_timestamp(civil).ok();
            let Some((began, before)) = stretch.began else { return time };
            let shows = stretch.offset.to_datetime(began);
            let first = if self.flows { shows } else { shows.max(before) };
            if civil >= first {
                return time;
            }
            if !self.flows && shows > before && civil >= before {
                return Some(began);
            }
            let near = time?.checked_add(FAR).ok()?;
            if near < began {
                stretch = self.stretch(near);
                found = self.search_back(stretch.offset.to_datetime(near), true);
                continue;
            }
            stretch = self.stretch(began.checked_sub(SignedDuration::from_nanos(1)).ok()?);
            found = self.search_back(before, false);
        }
    }

    fn stretch(&self, time: Timestamp) -> Stretch {
        // Transitions are looked for strictly before what is given.
        let within = time.checked_add(SignedDuration::from_nanos(1)).unwrap_or(time);
        let began = self.zone.preceding(within).next().map(|change| change.timestamp()).map(|began| {
            let earlier = began.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(began);
            (began, self.zone.to_offset(earlier).to_datetime(began))
        });
        let ends = self.zone.following(time).next().map(|change| change.timestamp());
        Stretch { offset: self.zone.to_offset(time), began, ends }
    }

    fn search(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        // Within a second, only its beginning matches.
        let inclusive = inclusive && from.subsec_nanosecond() == 0;
        self.fields.find_next_occurrence(&from, inclusive).ok()
    }

    fn search_back(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        let inclusive = inclusive || from.subsec_nanosecond() > 0;
        self.fields.find_previous_occurrence(&from, inclusive).ok()
    }
}

fn parse(text: &str) -> Result<croner::Cron, String> {
    if let Some(descriptor) = text.strip_prefix('@') {
        let fields = match descriptor.to_ascii_lowercase().as_str() {
            "yearly" | "annually" => "0 0 1 1 *",
            "monthly" => "0 0 1 * *",
            "weekly" => "0 0 * * 0",
            "daily" | "midnight" => "0 0 * * *",
            "hourly" => "0 * * * *",
            _ => return Err(format!("@{descriptor} is no descriptor")),
        };
        return parse(fields);
    }
    let fields = text.split_whitespace().count();
    if !(5..=7).contains(&fields) {
        return Err(format!("it has {fields} fields, 5 to 7 are needed"));
    }
    // The parser would read over them, and then the field means something else, or nothing at all.
    if let Some(gap) = text.split_whitespace().find(|field| field.split(',').any(str::is_empty)) {
        return Err(format!("something is missing in {gap:?}"));
    }
    CronParser::new().parse(text).map_err(|error| {
        let text = error.to_string();
        text.trim_end_matches('.').to_owned()
    })
}
