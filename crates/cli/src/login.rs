//! `login` and `logout`: credentials shown to a registry, kept, and forgotten.

use std::io::{self, BufRead, Read, Write};

use hako_api::auth::AuthConfig;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    credentials::{self, Credentials, HUB},
    error::CommandError,
    flag::FlagSet,
    terminal,
};

#[derive(Default)]
pub(crate) struct Login {
    username: String,
    password: String,
    password_stdin: bool,
}

impl Command for Login {
    const SHAPE: &'static Shape = &Shape {
        paths: &["login"],
        usage: "[OPTIONS] [SERVER]",
        about: "Prove who you are to a registry",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.username, "-u, --username", "Who you are there");
        set.add(&mut self.password, "-p, --password", "Password or token");
        set.add(&mut self.password_stdin, "--password-stdin", "Read the password from standard input");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let server = words.first().map_or_else(String::new, |word| bare(word));
        let key = credentials::key_of(&server);
        let mut known = Credentials::read(&cx.directory)?;
        let auth = self.ask(cx, &known, &key)?;
        let answer = cx.client()?.system_auth(&auth).await?;
        let kept = if answer.identity_token.is_empty() {
            auth
        } else {
            AuthConfig { password: String::new(), identitytoken: answer.identity_token, ..auth }
        };
        if known.helper(&key).is_none() {
            cx.remark(&format!(
                "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
                known.path().display()
            ));
        }
        known.keep(&key, &kept)?;
        cx.print_line(&answer.status)
    }
}

impl Login {
    fn ask(&self, cx: &Context, known: &Credentials, key: &str) -> Result<AuthConfig, CommandError> {
        let said = |text: &str| CommandError::Said(text.to_owned());
        if !self.password.is_empty() {
            cx.remark("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
            if self.password_stdin {
                return Err(said("--password and --password-stdin are mutually exclusive"));
            }
        }
        let mut auth = AuthConfig { serveraddress: key.to_owned(), ..AuthConfig::default() };
        (auth.username, auth.password) = (self.username.clone(), self.password.clone());
        if self.password_stdin {
            if self.username.is_empty() {
                return Err(said("the --password-stdin option requires --username to be set"));
            }
            io::stdin().read_to_string(&mut auth.password).map_err(CommandError::local("read the password"))?;
            auth.password.truncate(auth.password.trim_end_matches(['\n', '\r']).len());
        } else if self.username.is_empty() && self.password.is_empty() {
            // What is known already is tried again before anybody is asked.
            let before = known.find(key);
            if !before.username.is_empty() && (!before.password.is_empty() || !before.identitytoken.is_empty()) {
                cx.print_line("Authenticating with existing credentials...")?;
                return Ok(AuthConfig { serveraddress: key.to_owned(), ..before });
            }
        }
        if auth.username.is_empty() {
            auth.username = line(cx, "Username: ")?;
        }
        if auth.username.is_empty() {
            return Err(said("username is required"));
        }
        if auth.password.is_empty() && !self.password_stdin {
            let _hidden = terminal::Hidden::enter();
            auth.password = line(cx, "Password: ")?;
            cx.print_line("")?;
        }
        if auth.password.is_empty() {
            return Err(said("password is required"));
        }
        Ok(auth)
    }
}

fn line(cx: &Context, question: &str) -> Result<String, CommandError> {
    if !terminal::stdin_is_terminal() {
        return Err(CommandError::Said("Error: Cannot perform an interactive login from a non TTY device".to_owned()));
    }
    cx.print(question)?;
    io::stdout().flush().map_err(CommandError::Output)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CommandError::local("read the answer"))?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

// `https://registry.test/v2/` is kept as `registry.test`.
fn bare(server: &str) -> String {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    host.split('/').next().unwrap_or_default().to_owned()
}

#[derive(Default)]
pub(crate) struct Logout;

impl Command for Logout {
    const SHAPE: &'static Shape = &Shape {
        paths: &["logout"],
        usage: "[SERVER]",
        about: "Forget the credentials for a registry",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let key = words.first().map_or_else(|| HUB.to_owned(), |word| credentials::key_of(&bare(word)));
        let mut known = Credentials::read(&cx.directory)?;
        cx.print_line(&format!("Removing login credentials for {key}"))?;
        known.forget(&key).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_kept_by_their_host() {
        assert_eq!(bare("https://registry.test/v2/"), "registry.test");
        assert_eq!(bare("localhost:5000"), "localhost:5000");
        assert_eq!(credentials::key_of(&bare("https://index.docker.io/v1/")), HUB);
    }
}
