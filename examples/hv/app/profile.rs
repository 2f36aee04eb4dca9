//! Which hypervisor is meant, by argument, environment or file. Nothing that may be secret is ever printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hypervisor::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::cli::Global;
use super::exit::{self, Stop};
use super::table::Table;
use super::text::NOTHING;
use super::{Ui, World};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    url: String,
    /// A variable that holds the password or token.
    secret_env: Option<String>,
    /// A command that prints it.
    secret_command: Option<String>,
}

/// The URL to connect to.
pub(crate) fn url(global: &Global, world: &World, ui: &mut Ui) -> Result<String, Stop> {
    if let Some(url) = &global.url {
        return Ok(url.clone());
    }
    if global.profile.is_none()
        && let Some(url) = (world.variable)("HV_URL")
    {
        return Ok(url);
    }
    let file = read(global, world, ui)?;
    let name = global.profile.clone().or_else(|| (world.variable)("HV_PROFILE")).or(file.default);
    let Some(name) = name else {
        let error = Error::new(ErrorKind::Config, "no hypervisor is named");
        return Err(error
            .with_hint("say --url memory:// or another URL, or make a profile: see `hv --help`")
            .into());
    };
    let known = file.profiles.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(profile) = file.profiles.get(&name) else {
        let error = Error::new(ErrorKind::Config, "no such profile").with_target("profile", &name);
        let known = if known.is_empty() { "there is none".to_owned() } else { format!("there are {known}") };
        return Err(error.with_hint(known).into());
    };
    Ok(profile.url(&name, world)?)
}

impl Profile {
    fn url(&self, name: &str, world: &World) -> Result<String> {
        let Some(secret) = self.secret(name, world)? else { return Ok(self.url.clone()) };
        let bad = |why: &str| Error::new(ErrorKind::Config, why).with_target("profile", name);
        let mut url = Url::parse(&self.url).map_err(|_| bad("its url is no URL"))?;
        url.set_password(Some(&secret)).map_err(|()| bad("its url has no place for a secret"))?;
        Ok(url.into())
    }

    fn secret(&self, name: &str, world: &World) -> Result<Option<String>> {
        let bad = |why: String| Error::new(ErrorKind::Config, why).with_target("profile", name);
        if let Some(variable) = &self.secret_env {
            let secret = (world.variable)(variable);
            return secret.map(Some).ok_or_else(|| bad(format!("the variable {variable} is not set")));
        }
        let Some(command) = &self.secret_command else { return Ok(None) };
        let run = Command::new("sh").args(["-c", command]).stderr(Stdio::inherit()).output();
        let output = run.map_err(|error| bad(format!("secret_command cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(bad(format!("secret_command failed ({})", output.status)));
        }
        let text =
            String::from_utf8(output.stdout).map_err(|_| bad("secret_command prints no text".to_owned()))?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }
}

fn path(global: &Global, world: &World) -> Option<PathBuf> {
    let folder = || {
        let config = (world.variable)("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        config.or_else(|| (world.variable)("HOME").map(|home| PathBuf::from(home).join(".config")))
    };
    global.config.clone().or_else(|| folder().map(|folder| folder.join("hv/profiles.toml")))
}

fn read(global: &Global, world: &World, ui: &mut Ui) -> Result<File> {
    let Some(path) = path(global, world) else { return Ok(File::default()) };
    let bad = |why: String| Error::new(ErrorKind::Config, why).with_target("file", path.display());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && global.config.is_none() => {
            return Ok(File::default());
        }
        Err(error) => return Err(bad(error.to_string())),
    };
    // The parser's own text shows the line, which may hold a password.
    let file: File = toml::from_str(&text).map_err(|error| {
        let line =
            error.span().and_then(|span| text.get(..span.start)).map(|before| before.lines().count().max(1));
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        bad(format!("{line}{}", error.message()))
    })?;
    let secret = |profile: &Profile| Url::parse(&profile.url).is_ok_and(|url| url.password().is_some());
    if file.profiles.values().any(secret) && others_can_read(&path) {
        ui.note(format!("warning: {} holds a password and others can read it: chmod 600", path.display()));
    }
    Ok(file)
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> bool {
    false
}

/// Lists the profiles: where they lead, and nothing that could be a credential.
pub(crate) fn list(global: &Global, world: &World, ui: &mut Ui) -> Result<u8, Stop> {
    let file = read(global, world, ui)?;
    let rows = file.profiles.iter().map(|(name, profile)| {
        let default = file.default.as_ref() == Some(name);
        (name.clone(), shown(&profile.url), default)
    });
    let rows: Vec<_> = rows.collect();
    if ui.json {
        let rows =
            rows.iter().map(|(name, url, default)| json!({ "name": name, "url": url, "default": default }));
        ui.value(&rows.collect::<Vec<_>>());
        return Ok(exit::OK);
    }
    let mut table = Table::new(["PROFILE", "URL", "DEFAULT"]);
    for (name, url, default) in rows {
        table.row([name.into(), url.into(), (if default { "yes" } else { NOTHING }).into()]);
    }
    ui.table(&table);
    Ok(exit::OK)
}

/// Scheme, host, port and path.
fn shown(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "(no URL)".to_owned() };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}
