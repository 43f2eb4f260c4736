//! Builders that are started because somebody says so, without a build.

use tokio::sync::mpsc;

use super::{chosen::Chosen, driver};
use crate::{
    build::{Mode, show},
    context::Context,
    error::CommandError,
};

/// News that wait for a slow terminal.
const NEWS_QUEUED: usize = 64;

/// Starts every node, and shows how it goes.
///
/// # Errors
/// When one of them does not come up.
pub(super) async fn and_show(cx: &Context, chosen: &Chosen) -> Result<(), CommandError> {
    let (send, news) = mpsc::channel(NEWS_QUEUED);
    let booting = async {
        let news = send;
        for node in &chosen.nodes {
            driver::boot(cx, chosen, node, &news).await?;
        }
        Ok(())
    };
    tokio::join!(booting, show(news, Mode::Auto)).0
}
