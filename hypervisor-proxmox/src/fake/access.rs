//! Who may do what: users, tokens, tickets, roles and access lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::call::{Params, Who};
use super::cluster::Cluster;
use super::reply::Refusal;

/// The roles that every cluster has, and their privileges.
pub(super) const ROLES: &[(&str, &str)] = &[
    ("Administrator", ALL),
    (
        "PVEAdmin",
        "Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit,Group.Allocate,Mapping.Audit,Mapping.Use,Pool.Allocate,Pool.Audit,Realm.AllocateUser,SDN.Allocate,SDN.Audit,SDN.Use,Sys.Audit,Sys.Console,Sys.Syslog,User.Modify,VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,VM.Config.CPU,VM.Config.Cloudinit,VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.GuestAgent.Unrestricted,VM.Migrate,VM.PowerMgmt,VM.Replicate,VM.Snapshot,VM.Snapshot.Rollback",
    ),
    (
        "PVEVMAdmin",
        "VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,VM.Config.CPU,VM.Config.Cloudinit,VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.GuestAgent.Unrestricted,VM.Migrate,VM.PowerMgmt,VM.Replicate,VM.Snapshot,VM.Snapshot.Rollback",
    ),
    (
        "PVEVMUser",
        "VM.Audit,VM.Backup,VM.Config.CDROM,VM.Config.Cloudinit,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.PowerMgmt",
    ),
    ("PVETemplateUser", "VM.Audit,VM.Clone"),
    (
        "PVEDatastoreAdmin",
        "Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit",
    ),
    ("PVEDatastoreUser", "Datastore.AllocateSpace,Datastore.Audit"),
    (
        "PVEAuditor",
        "Datastore.Audit,Mapping.Audit,Pool.Audit,SDN.Audit,Sys.Audit,VM.Audit,VM.GuestAgent.Audit",
    ),
    ("PVEPoolAdmin", "Pool.Allocate,Pool.Audit"),
    ("PVEPoolUser", "Pool.Audit"),
    ("PVESDNAdmin", "SDN.Allocate,SDN.Audit,SDN.Use"),
    ("PVESDNUser", "SDN.Audit,SDN.Use"),
    ("PVESysAdmin", "Sys.Audit,Sys.Console,Sys.Syslog"),
    ("PVEUserAdmin", "Group.Allocate,Realm.AllocateUser,User.Modify"),
    ("PVEMappingAdmin", "Mapping.Audit,Mapping.Modify,Mapping.Use"),
    ("PVEMappingUser", "Mapping.Audit,Mapping.Use"),
    ("NoAccess", ""),
];

/// Every privilege.
const ALL: &str = "Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit,Group.Allocate,Mapping.Audit,Mapping.Modify,Mapping.Use,Permissions.Modify,Pool.Allocate,Pool.Audit,Realm.Allocate,Realm.AllocateUser,SDN.Allocate,SDN.Audit,SDN.Use,Sys.AccessNetwork,Sys.Audit,Sys.Console,Sys.Incoming,Sys.Modify,Sys.PowerMgmt,Sys.Syslog,User.Modify,VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,VM.Config.CPU,VM.Config.Cloudinit,VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.GuestAgent.Unrestricted,VM.Migrate,VM.PowerMgmt,VM.Replicate,VM.Snapshot,VM.Snapshot.Rollback";

/// An API token.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) secret: String,
    /// Whether it needs access lists of its own.
    pub(super) privsep: bool,
    pub(super) comment: Option<String>,
    /// Seconds since 1970; 0 is never.
    pub(super) expire: u64,
}

/// A user.
#[derive(Debug, Clone, Default)]
pub(super) struct User {
    pub(super) password: Option<String>,
    /// The code that its second factor accepts.
    pub(super) totp: Option<String>,
    pub(super) tokens: BTreeMap<String, Token>,
    pub(super) disabled: bool,
    pub(super) comment: Option<String>,
}

/// A row of an access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acl {
    pub(super) path: String,
    pub(super) role: String,
    /// A user or a token's full id.
    pub(super) subject: String,
    pub(super) propagate: bool,
}

/// A login.
#[derive(Debug, Clone)]
struct Ticket {
    user: String,
    issued: Duration,
    csrf: String,
    /// Whether the second factor is still to come.
    half: bool,
}

/// Users, tickets and access lists.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub(super) users: BTreeMap<String, User>,
    pub(super) acl: Vec<Acl>,
    /// Roles beyond those that every cluster has.
    pub(super) roles: BTreeMap<String, BTreeSet<&'static str>>,
    used: Mutex<BTreeSet<&'static str>>,
    tickets: BTreeMap<String, Ticket>,
}

/// What a request carries to say who sends it.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub(super) authorization: Option<String>,
    pub(super) cookie: Option<String>,
    pub(super) csrf: Option<String>,
}

/// The privileges of a role; `None` where there is no such role.
fn role(name: &str) -> Option<BTreeSet<&'static str>> {
    let (_, list) = ROLES.iter().find(|(role, _)| *role == name)?;
    Some(list.split(',').filter(|privilege| !privilege.is_empty()).collect())
}

/// Those of these privileges that there are.
pub(super) fn known(privileges: &[&str]) -> BTreeSet<&'static str> {
    ALL.split(',').filter(|privilege| privileges.contains(privilege)).collect()
}

impl Access {
    pub(super) fn new(
        users: BTreeMap<String, User>,
        acl: Vec<Acl>,
        roles: BTreeMap<String, BTreeSet<&'static str>>,
    ) -> Self {
        Self { users, acl, roles, ..Self::default() }
    }

    /// The privileges of a role; `None` where there is no such role.
    pub(super) fn role(&self, name: &str) -> Option<BTreeSet<&'static str>> {
        self.roles.get(name).cloned().or_else(|| role(name))
    }

    /// The privileges without which a call so far would have been refused.
    pub(super) fn used(&self) -> BTreeSet<&'static str> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets all logins, as when the server's keys are renewed.
    pub(super) fn forget_tickets(&mut self) {
        self.tickets.clear();
    }

    fn roles_on(&self, subject: &str, path: &str) -> BTreeSet<&'static str> {
        let mut found = BTreeSet::new();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        // From the root down; what is nearer to the object replaces what is inherited.
        for depth in 0..=parts.len() {
            let prefix = format!("/{}", parts.iter().take(depth).copied().collect::<Vec<_>>().join("/"));
            let exact = depth == parts.len();
            let here: Vec<&Acl> = self
                .acl
                .iter()
                .filter(|acl| acl.subject == subject && acl.path == prefix && (exact || acl.propagate))
                .collect();
            if !here.is_empty() {
                found = here.iter().filter_map(|acl| self.role(&acl.role)).flatten().collect();
            }
        }
        found
    }

    /// What somebody may do to an object.
    pub(super) fn privileges(&self, who: &Who, path: &str) -> BTreeSet<&'static str> {
        let of_user =
            if who.user == "root@pam" { ALL.split(',').collect() } else { self.roles_on(&who.user, path) };
        match &who.token {
            None => of_user,
            Some(name) => {
                let token = self.users.get(&who.user).and_then(|user| user.tokens.get(name));
                if token.is_some_and(|token| !token.privsep) {
                    return of_user;
                }
                let own = self.roles_on(&who.owner(), path);
                own.intersection(&of_user).copied().collect()
            }
        }
    }

    /// Paths that access lists name, and those that always exist.
    pub(super) fn known_paths(&self) -> BTreeSet<String> {
        let always = [
            "/",
            "/access",
            "/access/groups",
            "/access/realm",
            "/nodes",
            "/pool",
            "/sdn",
            "/storage",
            "/vms",
        ];
        let listed = self.acl.iter().map(|acl| acl.path.clone());
        listed.chain(always.iter().map(|path| (*path).to_owned())).collect()
    }
}

impl Cluster {
    /// What somebody may do to an object; guests and storages also get what their pool gives.
    pub(super) fn privileges(&self, who: &Who, path: &str) -> BTreeSet<&'static str> {
        let mut all = self.access.privileges(who, path);
        let pools = self.pools.iter().filter(|(_, pool)| match path.split_once('/').map(|(_, rest)| rest) {
            Some(rest) => match rest.split_once('/') {
                Some(("vms", id)) => id.parse().is_ok_and(|vmid: u32| pool.guests.contains(&vmid)),
                Some(("storage", id)) => pool.storages.contains(id),
                _ => false,
            },
            None => false,
        });
        for (name, _) in pools {
            all.extend(self.access.privileges(who, &format!("/pool/{name}")));
        }
        all
    }

    /// Whether somebody has one of these privileges.
    pub(super) fn may(&self, who: &Who, path: &str, any_of: &[&str]) -> bool {
        let has = self.privileges(who, path);
        let mut decisive = has.into_iter().filter(|privilege| any_of.contains(privilege));
        match (decisive.next(), decisive.next()) {
            (None, _) => return false,
            (Some(only), None) => {
                self.access.used.lock().unwrap_or_else(PoisonError::into_inner).insert(only);
            }
            // Another one would have done as well.
            _ => {}
        }
        true
    }

    /// # Errors
    /// 403 with the path and the privileges.
    pub(super) fn need(&self, who: &Who, path: &str, any_of: &[&str]) -> Result<(), Refusal> {
        if self.may(who, path, any_of) { Ok(()) } else { Err(Refusal::denied(path, any_of)) }
    }

    /// Who sent the request.
    ///
    /// # Errors
    /// 401 in the server's words.
    pub(super) fn authenticate(
        &self,
        method: &str,
        credentials: &Credentials,
        is_upload: bool,
    ) -> Result<Who, Refusal> {
        let refused = |text: &str| Err(Refusal::unauthenticated(text));
        if let Some(header) = &credentials.authorization
            && let Some(rest) = header.strip_prefix("PVEAPIToken")
        {
            return match rest.chars().next() {
                Some('=') => self.token(rest.get(1..).unwrap_or_default()),
                Some(' ') => {
                    let plain = percent_decode_str(rest.trim()).decode_utf8_lossy().into_owned();
                    self.token(&plain)
                }
                _ => refused("No ticket"),
            };
        }
        let Some(cookie) = &credentials.cookie else { return refused("No ticket") };
        let known = self.access.tickets.get(cookie).filter(|ticket| !ticket.half);
        let fresh =
            known.filter(|ticket| self.clock.now().saturating_sub(ticket.issued) < self.options.ticket_life);
        let Some(ticket) = fresh else { return refused("permission denied - invalid PVE ticket") };
        let writes = !matches!(method, "GET" | "HEAD");
        if writes && !is_upload && credentials.csrf.as_deref() != Some(ticket.csrf.as_str()) {
            return refused("Permission denied - invalid csrf token");
        }
        self.check_user(&ticket.user)?;
        Ok(Who { user: ticket.user.clone(), token: None })
    }

    fn check_user(&self, name: &str) -> Result<(), Refusal> {
        match self.access.users.get(name) {
            None => Err(Refusal::unauthenticated(format!("no such user ('{name}')"))),
            Some(user) if user.disabled => {
                Err(Refusal::unauthenticated(format!("user '{name}' is disabled")))
            }
            Some(_) => Ok(()),
        }
    }

    fn token(&self, text: &str) -> Result<Who, Refusal> {
        let refused = |text: String| Err(Refusal::unauthenticated(text));
        let Some((id, secret)) = text.split_once('=') else {
            return refused("no tokenid specified".into());
        };
        let split = id.split_once('!').filter(|(user, token)| user.contains('@') && token.len() > 1);
        let Some((user, name)) = split else {
            return refused(format!(
                "'{id}' is not a valid token ID - not able to split into user and token parts"
            ));
        };
        self.check_user(user)?;
        let known = self.access.users.get(user).and_then(|user| user.tokens.get(name));
        let Some(token) = known else {
            return refused(format!("no such token '{name}' for user '{user}'"));
        };
        if token.expire != 0 && token.expire < self.clock.unix() {
            return refused(format!("token '{name}' access expired"));
        }
        if token.secret != secret {
            return refused("invalid token value!".into());
        }
        Ok(Who { user: user.to_owned(), token: Some(name.to_owned()) })
    }

    fn issue(&mut self, user: &str, half: bool) -> (String, String) {
        let stamp = format!("{:08X}", self.clock.unix());
        let (one, two) = (self.secret(), self.secret());
        let ticket = if half {
            format!("PVE:!tfa!{{\"totp\"%3Atrue}}:{stamp}::{one}")
        } else {
            format!("PVE:{user}:{stamp}::{one}==")
        };
        let csrf = format!("{stamp}:{two}");
        let issued = self.clock.now();
        let kept = Ticket { user: user.to_owned(), issued, csrf: csrf.clone(), half };
        self.access.tickets.insert(ticket.clone(), kept);
        (ticket, csrf)
    }

    /// A login: the user, ticket and CSRF token, and whether a second factor has to follow.
    ///
    /// # Errors
    /// 401 that does not say what was wrong.
    pub(super) fn login(&mut self, params: &Params) -> Result<(String, String, String, bool), Refusal> {
        let name = params.needed("username")?;
        let name = match params.get("realm") {
            Some(realm) if !name.contains('@') => format!("{name}@{realm}"),
            _ => name.to_owned(),
        };
        let password = params.needed("password")?;
        let failed = || Refusal::login_failed();
        let user = self.access.users.get(&name).filter(|user| !user.disabled).ok_or_else(failed)?.clone();
        let valid = |ticket: &Ticket, half: bool| {
            let age = self.clock.now().saturating_sub(ticket.issued);
            ticket.user == name && ticket.half == half && age < self.options.ticket_life
        };
        let half = match params.get("tfa-challenge") {
            Some(challenge) => {
                let known = self.access.tickets.get(challenge).is_some_and(|ticket| valid(ticket, true));
                let code = password.strip_prefix("totp:");
                if !known || code.is_none() || code != user.totp.as_deref() {
                    return Err(failed());
                }
                false
            }
            None => {
                let renews = self.access.tickets.get(password).is_some_and(|ticket| valid(ticket, false));
                if !renews && user.password.as_deref() != Some(password) {
                    return Err(failed());
                }
                user.totp.is_some() && !renews
            }
        };
        let (ticket, csrf) = self.issue(&name, half);
        Ok((name, ticket, csrf, half))
    }
}
