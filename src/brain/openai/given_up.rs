//! What each model turned out not to take, so that only its first request is refused for it.
//!
//! Only what a server has named is remembered. A refusal that names nothing may be due to what just this conversation
//! says: what is left out after it is left out in one step.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::request::Features;

/// Workers name their models, so there may be any number of them. Beyond this all is forgotten: one more refused request
/// for each, no more.
const MOST: usize = 64;

/// By the model's id.
#[derive(Debug, Default)]
pub(super) struct GivenUp(Mutex<HashMap<String, Features>>);

impl GivenUp {
    /// What is left out of requests to `model`.
    pub(super) fn of(&self, model: &str) -> Features {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied().unwrap_or_default()
    }

    /// It has answered without what it named.
    pub(super) fn remember(&self, model: &str, named: Features) {
        if named == Features::default() {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(model) {
            all.clear();
        }
        let known = all.entry(model.to_owned()).or_default();
        *known = known.and(named);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_has_its_own_and_no_number_of_models_takes_all_memory() {
        let given_up = GivenUp::default();
        given_up.remember("a", Features(1));
        given_up.remember("a", Features(4));
        given_up.remember("b", Features::default());
        assert_eq!((given_up.of("a"), given_up.of("b")), (Features(5), Features::default()));
        for number in 0..1000 {
            given_up.remember(&format!("m{number}"), Features(2));
        }
        assert!(given_up.0.lock().unwrap().len() <= MOST);
        assert_eq!(given_up.of("m999"), Features(2));
    }
}
