//! Lists that come in pages: one loop for all of them.

/// Asks for one page after the other: `page` is given the token of the page to ask for, empty for the first,
/// and gives that of the next, empty if it wants no more.
///
/// # Errors
/// What a page was refused with; what came before it was handled.
pub(super) async fn pages<E>(
    mut page: impl AsyncFnMut(String) -> Result<String, E>,
) -> Result<(), E> {
    let mut token = String::new();
    loop {
        token = page(token).await?;
        if token.is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_asked_for_until_there_are_no_more_or_one_is_refused() {
        let mut asked = Vec::new();
        let told = pages(async |token| {
            asked.push(token);
            Ok::<_, ()>(["b", "c", ""][asked.len() - 1].to_owned())
        });
        assert_eq!(told.await, Ok(()));
        assert_eq!(asked, ["", "b", "c"]);
        let refused = pages(
            async |token: String| {
                if token.is_empty() { Ok("b".to_owned()) } else { Err(token) }
            },
        );
        assert_eq!(refused.await, Err("b".to_owned()));
    }
}
