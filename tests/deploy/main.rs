//! What is in `deploy/`, and the image: rendered, checked by the tools that know each kind of file, and held to the promises.
//!
//! ```text
//!  autoscaler   a burst, worker processes that come and go by the rules for KEDA, and nothing lost
//!  kubernetes   every overlay renders, every object is valid by its schema
//!  pods         every pod is an ordinary user behind walls, with probes, limits and time to stop
//!  references   what names something else names something that is there
//!  monitoring   alerts and dashboard speak of figures that there are
//!  readme       what deploy/README.md shows is so
//!  image        Dockerfile, docker-compose.yml, the systemd unit
//! ```
//!
//! But for the autoscaler's, no cluster, no Docker and no systemd run here: that the files say what they should is all that can be shown.
#![expect(clippy::disallowed_methods, reason = "tools are run, not commands of a task")]
#![expect(clippy::unwrap_used, reason = "a test may fail aloud")]

mod autoscaler;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the harness can do more than one test needs")]
mod common;
mod image;
mod kubernetes;
mod monitoring;
mod pods;
#[path = "../common/postgres.rs"]
#[expect(dead_code, reason = "the harness can do more than one test needs")]
mod postgres;
mod readme;
mod references;
mod tools;
