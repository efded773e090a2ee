//! Requests and answers for which somebody has to be asked first: may it come in, which page shows the error.

use super::*;
use crate::http::{pages, permission};

impl<C: Client> Session<C> {
    /// Forwards the request, once whoever must be asked lets it in.
    pub(super) async fn forward(&mut self, mut plan: Plan, mut output: Vec<u8>) -> Outcome {
        if let Some(question) = plan.question.take() {
            match permission::ask(&self.context, &question).await {
                permission::Answer::Granted { request, cookies } => {
                    let end = output.len() - 2;
                    output.splice(end..end, request);
                    plan.admit(cookies);
                }
                permission::Answer::Denied { status, reason, lines } => {
                    let page = plan.page.take();
                    let lines = [std::mem::take(&mut plan.lines), lines].concat();
                    let (asked, framing, entry) = (plan.asked, plan.framing, Some(plan.entry.clone()));
                    let (reason, content_type) = (reason.to_owned(), None);
                    let (question, record) = (None, plan.record.take());
                    let own =
                        Own { status, reason, content_type, asked, framing, entry, lines, question, page, record };
                    return self.answer(own, output).await;
                }
            }
        }
        exchange::Exchange::new(self, plan, output).run().await
    }

    /// Gives our own answer, unless somebody does not let the request in, or has a page to show instead.
    pub async fn answer(&mut self, mut own: Own, output: Vec<u8>) -> Outcome {
        if let Some(question) = own.question.take()
            && let permission::Answer::Denied { status, reason, lines } =
                permission::ask(&self.context, &question).await
        {
            own.lines.extend_from_slice(&lines);
            (own.status, own.reason, own.content_type) = (status, reason.to_owned(), None);
        }
        let page = match &own.page {
            Some(page) if own.entry.as_ref().is_some_and(|e| pages::replaces(e, own.status)) => {
                pages::fetch(&self.context, page, own.status).await
            }
            _ => None,
        };
        let mut written = self.write_own(own, page, output);
        self.send(&mut written).await
    }
}
