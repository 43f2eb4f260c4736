//! `cargo x bless`: accepts what the tests print now as what is expected. Read the difference before you commit it.

use crate::test;

pub(crate) fn bless(arguments: &[String]) -> Result<(), String> {
    let mut ring = vec!["box".to_owned()];
    ring.extend_from_slice(arguments);
    test::blessing(&ring)
}
