//! Which namespace a parameter of the kernel belongs to. One that no namespace owns is the host's: a container that set
//! it would change the machine. Used for bundles and for the engine's containers alike; setting is `root`'s.

/// The namespaces that own parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Network,
    Ipc,
    Uts,
    User,
}

/// Who owns `name` (`net.ipv4.ip_forward`, or with slashes); `None`: the whole machine.
pub fn owner(name: &str) -> Option<Owner> {
    const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let path = name.replace('.', "/");
    if path.split('/').any(|part| part.is_empty()) {
        return None;
    }
    match path.split_once('/')? {
        ("net", _) => Some(Owner::Network),
        ("kernel", rest) if IPC.contains(&rest) => Some(Owner::Ipc),
        ("fs", rest) if rest.starts_with("mqueue/") => Some(Owner::Ipc),
        ("kernel", "domainname" | "hostname") => Some(Owner::Uts),
        ("user", _) => Some(Owner::User),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_owners() {
        assert_eq!(owner("net.ipv4.ip_forward"), Some(Owner::Network));
        assert_eq!(owner("net/ipv4/conf/eth0.1/rp_filter"), Some(Owner::Network));
        assert_eq!(owner("kernel.shmmax"), Some(Owner::Ipc));
        assert_eq!(owner("fs.mqueue.msg_max"), Some(Owner::Ipc));
        assert_eq!(owner("kernel.domainname"), Some(Owner::Uts));
        // A dot too many would be a way up.
        for foreign in ["vm.swappiness", "kernel.core_pattern", "net", "", "net....kernel.core_pattern", "fs.file-max"]
        {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
    }
}
