//! What `hintctl bench` measures with, for the benches of the workspace. The tool is the binary; this is
//! no library to build on.

pub mod measure;
