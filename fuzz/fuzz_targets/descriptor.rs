#![no_main]
//! Any bytes as a segment's descriptor: what decodes encodes back.

use libfuzzer_sys::fuzz_target;

use hintstore_format::descriptor::Descriptor;

fuzz_target!(|data: &[u8]| {
    if let Ok(descriptor) = Descriptor::decode(data) {
        assert_eq!(Descriptor::decode(&descriptor.encode()), Ok(descriptor));
    }
});
