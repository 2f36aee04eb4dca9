//! Resource groups, which Proxmox calls pools.

use hypervisor_core::Result;
use hypervisor_core::model::{GroupChange, GroupInfo, GroupSpec};
use serde_json::Value;

use super::form::Form;
use super::scalar::{row, text_of};

row! {
    /// A row of `/pools`, or the answer of `/pools/{poolid}`.
    PoolRow {
        /// Its name.
        poolid: String = "poolid",
        /// What somebody wrote about it.
        comment: String = "comment",
        /// Its guests and storages.
        members: Vec<Value> = "members",
    }
}

impl PoolRow {
    /// As the model has it. `name` counts where the answer does not say.
    #[must_use]
    pub fn into_info(self, name: Option<&str>) -> Option<GroupInfo> {
        let mut group = GroupInfo::new(self.poolid.or_else(|| name.map(str::to_owned))?);
        group.description = self.comment.filter(|comment| !comment.is_empty());
        for member in self.members.unwrap_or_default() {
            let text = |key: &str| member.get(key).and_then(text_of);
            if let Some(vmid) = text("vmid") {
                group.vms.push(vmid.into());
            } else if let Some(storage) = text("storage") {
                group.pools.push(storage.into());
            }
        }
        group.vms.sort();
        group.pools.sort();
        group.pools.dedup();
        Some(group)
    }
}

/// The groups of `/pools`; without their members, but for `/pools?poolid=…`.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn groups(body: &[u8]) -> Result<Vec<GroupInfo>> {
    let rows: Vec<PoolRow> = super::envelope::data(body)?;
    let mut groups: Vec<GroupInfo> = rows.into_iter().filter_map(|row| row.into_info(None)).collect();
    groups.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(groups)
}

/// The group of `/pools/{poolid}`, whose answer does not name it on older releases.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn group(body: &[u8], name: &str) -> Result<Option<GroupInfo>> {
    let row: PoolRow = super::envelope::data(body)?;
    Ok(row.into_info(Some(name)))
}

/// The parameters of `POST /pools`.
///
/// # Errors
/// `InvalidInput` naming the field.
pub fn create(spec: &GroupSpec) -> Result<Form> {
    spec.validate()?;
    Ok(Form::new().text("poolid", spec.name.as_str()).maybe("comment", spec.description.clone()))
}

/// The parameters of up to two `PUT /pools/{poolid}`: what is added and what is removed are calls of their own.
///
/// # Errors
/// `InvalidInput` naming the field.
pub fn update(change: &GroupChange) -> Result<Vec<Form>> {
    change.validate()?;
    fn list<T: AsRef<str>>(ids: &[T]) -> Option<String> {
        (!ids.is_empty()).then(|| ids.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(","))
    }
    for vm in change.add_vms.iter().chain(&change.remove_vms) {
        super::form::vmid(vm)?;
    }
    let added = Form::new().maybe("vms", list(&change.add_vms)).maybe("storage", list(&change.add_pools));
    let moves = change.add_vms.is_empty();
    let added = added.maybe("comment", change.description.clone()).flag_if("allow-move", !moves);
    let removed =
        Form::new().maybe("vms", list(&change.remove_vms)).maybe("storage", list(&change.remove_pools));
    let removed = if removed.is_empty() { removed } else { removed.flag("delete", true) };
    Ok([removed, added].into_iter().filter(|form| !form.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_guests_and_storages() {
        let body = br#"{"data":{"comment":"","members":[{"type":"qemu","vmid":101},{"type":"lxc","vmid":"100"},
            {"type":"storage","storage":"local","node":"a"},{"type":"storage","storage":"local","node":"b"}]}}"#;
        let group = group(body, "prod").unwrap().unwrap();
        assert_eq!((group.id.as_str(), group.description.as_deref()), ("prod", None));
        assert_eq!((group.vms.len(), group.pools.len()), (2, 1));
        assert_eq!(groups(br#"[{"poolid":"b"},{"poolid":"a"}]"#).unwrap()[0].id.as_str(), "a");
    }

    #[test]
    fn adding_and_removing_are_two_calls() {
        let change =
            GroupChange::new().add_vms(vec!["100".into()]).remove_pools(vec!["nfs".into()]).description("x");
        let sent: Vec<String> = update(&change).unwrap().iter().map(Form::encode).collect();
        assert_eq!(sent, ["storage=nfs&delete=1", "vms=100&comment=x&allow-move=1"]);
        assert!(update(&GroupChange::new()).unwrap().is_empty());
    }
}
