//! Copies and templates, as `virt-clone` makes them.

use serde_json::{Value, json};

use super::answer::Answer;
use super::route::{Call, Handled};
use super::state::{FakeDomain, Power, State, path};

/// `virt-clone --original <source> --name <target> --auto-clone`: what it writes where it fails.
fn virt_clone(state: &mut State, source: &str, target: &str, keep_disks: bool) -> Result<(), String> {
    let Some(original) = state.find(source).cloned() else {
        return Err(format!("ERROR    Domain '{source}' was not found.\n"));
    };
    if original.power != Power::Off {
        return Err("ERROR    Domain to clone must be shutoff.\n".to_owned());
    }
    if keep_disks && !original.disks.is_empty() {
        let file = path("default", &format!("{target}.qcow2"));
        return Err(format!(
            "ERROR    Could not use path '{file}' for cloning: Must specify storage creation parameters for non-existent path '{file}'.\n"
        ));
    }
    if state.vms.contains_key(target) {
        return Err(format!(
            "ERROR    Invalid name for new guest: Guest name '{target}' is already in use.\n"
        ));
    }
    state.add_vm(&FakeDomain::new(target).disks(original.disks.len()));
    if let Some(copy) = state.find_mut(target) {
        (copy.cpus, copy.memory) = (original.cpus, original.memory);
    }
    Ok(())
}

pub(super) fn clone(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (source, target) = (body.text("source")?, body.text("target")?);
    body.texts("files")?;
    let preserve = body.flag("preserve")?;
    Ok(match virt_clone(state, &source, &target, preserve) {
        Ok(()) => Answer::json(
            201,
            &json!({
                "status": "success", "message": format!("Domain {source} cloned to {target}"), "source": source,
                "output": format!("\rAllocating '{target}.qcow2'  |    0 B  00:00 ... \n\nClone '{target}' created successfully.\n"),
                "target": target,
            }),
        ),
        Err(wrote) => Answer::tool("clone domain", &wrote),
    })
}

pub(super) fn multiple(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (source, prefix) = (body.text("source")?, body.text("name_prefix")?);
    let (count, first) = (body.number("count")?, body.number("start_index")?);
    if !(1..=100).contains(&count) {
        return Ok(Answer::text(400, "count must be between 1 and 100"));
    }
    let first = if first == 0 { 1 } else { first };
    let mut failed = 0;
    let mut results: Vec<Value> = Vec::new();
    for index in first..first + count {
        let name = format!("{prefix}-{index}");
        results.push(match virt_clone(state, &source, &name, false) {
            Ok(()) => json!({"name": name, "success": true}),
            Err(wrote) => {
                failed += 1;
                json!({"name": name, "success": false, "error": wrote})
            }
        });
    }
    Ok(Answer::ok(&json!({
        "status": "completed", "source": source, "total": count, "successful": count - failed, "failed": failed,
        "results": results,
    })))
}

pub(super) fn create_template(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (domain, mut name, description) =
        (body.text("domain")?, body.text("name")?, body.text("description")?);
    let seal = body.flag("seal")?;
    if name.is_empty() {
        name = format!("{domain}-template");
    }
    state.power_off(&domain);
    Ok(match virt_clone(state, &domain, &name, false) {
        Ok(()) => Answer::json(
            201,
            &json!({
                "status": "success", "message": format!("Template {name} created from {domain}"), "template": name,
                "source": domain, "sealed": seal, "description": description,
            }),
        ),
        Err(wrote) => Answer::tool("clone domain", &wrote),
    })
}

pub(super) fn deploy(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (template, name) = (body.text("template")?, body.text("name")?);
    let (memory, vcpus, start) = (body.number("memory")?, body.number("vcpus")?, body.flag("autostart")?);
    body.text("network")?;
    if let Err(wrote) = virt_clone(state, &template, &name, false) {
        return Ok(Answer::tool("deploy from template", &wrote));
    }
    if let Some(vm) = state.find_mut(&name) {
        vm.autostart = true;
        if let Some(memory) = u64::try_from(memory).ok().filter(|memory| *memory > 0) {
            vm.memory = memory;
        }
        if let Some(vcpus) = u64::try_from(vcpus).ok().filter(|vcpus| *vcpus > 0) {
            vm.cpus = vcpus;
        }
    }
    if start {
        state.power_on(&name, false);
    }
    Ok(Answer::json(
        201,
        &json!({
            "status": "success", "message": format!("VM {name} deployed from template {template}"), "vm": name,
            "template": template, "started": start, "memory_mb": memory, "vcpus": vcpus,
        }),
    ))
}

pub(super) fn list(state: &mut State, _: &Call) -> Handled {
    let names = state.vms.keys().filter(|name| name.to_ascii_lowercase().contains("template"));
    let templates: Vec<&String> = names.collect();
    let total = templates.len();
    let templates = if templates.is_empty() { Value::Null } else { json!(templates) };
    Ok(Answer::ok(&json!({"templates": templates, "total": total})))
}

pub(super) fn export(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (template, directory) = (body.text("template")?, body.text("export_path")?);
    let compress = body.flag("compress")?;
    let Some(vm) = state.find(&template) else {
        return Ok(Answer::error(500, "failed to dump XML: exit status 1"));
    };
    // The folder has to be there; this one is.
    if !directory.starts_with("/srv/") {
        return Ok(Answer::error(500, "failed to write XML: exit status 1"));
    }
    Ok(Answer::ok(&json!({
        "status": "success", "message": format!("Template {template} exported to {directory}"), "template": template,
        "export_path": directory, "xml_file": format!("{directory}/{template}.xml"), "disk_files": vm.disks,
        "compressed": compress,
    })))
}
