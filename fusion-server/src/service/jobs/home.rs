//! The view that a job belongs to: where there are several servers its owner does the job.

use fusion_core::id::ViewName;
use fusion_core::job::Job;
use fusion_store::{Item, Space};

use super::record;
use crate::stores::LoadError;

/// The view that a job belongs to, and whose owner does it.
pub(super) fn home(job: &Job) -> Option<&ViewName> {
    job.steps.first().map(|step| &step.spec.view)
}

/// The view that a stored job belongs to.
pub(crate) fn home_of(item: &Item) -> Result<Option<ViewName>, LoadError> {
    let job = record::from_bytes(&item.value).map_err(LoadError::record(Space::Job, item))?;
    Ok(home(&job).cloned())
}

/// Whether not all of these views are one.
pub(super) fn are_several<'a>(views: impl IntoIterator<Item = &'a ViewName>) -> bool {
    let mut views = views.into_iter();
    let first = views.next();
    views.any(|view| Some(view) != first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_several() {
        let [v, w] = ["v", "w"].map(|name| ViewName::new(name).unwrap());
        assert!(!are_several([]) && !are_several([&v, &v]) && are_several([&v, &v, &w]));
    }
}
