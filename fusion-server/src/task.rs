//! What runs beside the calls, each with a name, an owner and an end.

pub(crate) mod view;
