//! What more than one bench works with.

pub mod toolbox;
pub mod walls;
