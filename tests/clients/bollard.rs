//! What users of bollard, the library for Rust, do, asserted the way they rely on it. Wants DOCKER_HOST and the image
//! busybox; says "all is well" at the end.

use std::{collections::HashMap, error::Error, io::Read};

use bollard::{
    Docker, body_full,
    container::{AttachContainerResults, LogOutput},
    errors::Error as BollardError,
    exec::StartExecResults,
    models::{
        ContainerCreateBody, ContainerUpdateBody, ExecConfig, HostConfig, NetworkCreateRequest, PortBinding,
        VolumeCreateRequest,
    },
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptions, CreateContainerOptionsBuilder,
        DownloadFromContainerOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions, KillContainerOptions,
        ListContainersOptionsBuilder, ListImagesOptions, ListNetworksOptions, ListVolumesOptions, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveVolumeOptions, RenameContainerOptionsBuilder,
        RestartContainerOptionsBuilder, StartContainerOptions, StatsOptionsBuilder, StopContainerOptionsBuilder,
        TopOptionsBuilder, UploadToContainerOptionsBuilder, WaitContainerOptions,
    },
};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let docker = Docker::connect_with_defaults()?.negotiate_version().await?;
    system(&docker).await?;
    life(&docker).await?;
    commands(&docker).await?;
    attached(&docker).await?;
    files(&docker).await?;
    volumes_and_networks(&docker).await?;
    figures(&docker).await?;
    told(&docker).await?;
    println!("all is well");
    Ok(())
}

fn words(text: &str) -> Option<Vec<String>> {
    Some(text.split('|').map(str::to_owned).collect())
}

fn busybox(command: &str) -> ContainerCreateBody {
    ContainerCreateBody { image: Some("busybox".to_owned()), cmd: words(command), ..Default::default() }
}

async fn created(docker: &Docker, name: &str, body: ContainerCreateBody) -> Outcome<String> {
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    Ok(docker.create_container(Some(options), body).await?.id)
}

async fn removed(docker: &Docker, name: &str) -> Outcome {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    Ok(docker.remove_container(name, Some(options)).await?)
}

/// The status of an answer that should be an error.
fn status<T>(answer: Result<T, BollardError>) -> u16 {
    match answer {
        Err(BollardError::DockerResponseServerError { status_code, message }) => {
            assert!(!message.is_empty() && !message.contains('{'), "{message}");
            status_code
        }
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("this should have failed"),
    }
}

async fn system(docker: &Docker) -> Outcome {
    assert_eq!(docker.ping().await?, "OK");
    let version = docker.version().await?;
    assert!(version.api_version.is_some_and(|version| version.starts_with("1.")));
    assert_eq!(docker.info().await?.os_type.as_deref(), Some("linux"));
    let images = docker.list_images(None::<ListImagesOptions>).await?;
    assert!(images.iter().any(|image| image.repo_tags.iter().any(|tag| tag == "busybox:latest")));
    assert!(docker.inspect_image("busybox").await?.id.is_some_and(|id| id.starts_with("sha256:")));
    assert_eq!(status(docker.inspect_image("nosuch").await), 404);
    assert_eq!(status(docker.inspect_container("nosuch", None::<InspectContainerOptions>).await), 404);
    let unknown = ContainerCreateBody { image: Some("nosuch:tag".to_owned()), ..Default::default() };
    assert_eq!(status(docker.create_container(None::<CreateContainerOptions>, unknown).await), 404);
    Ok(())
}

async fn life(docker: &Docker) -> Outcome {
    let body = ContainerCreateBody {
        env: Some(vec!["A=1".to_owned()]),
        labels: Some(HashMap::from([("tier".to_owned(), "front".to_owned())])),
        host_config: Some(HostConfig { memory: Some(64 << 20), ..Default::default() }),
        ..busybox("sh|-c|echo out $A; echo err >&2; exec sleep 100")
    };
    created(docker, "life", body).await?;
    assert_eq!(status(docker.start_container("nosuch", None::<StartContainerOptions>).await), 404);
    docker.start_container("life", None::<StartContainerOptions>).await?;
    let logs = LogsOptionsBuilder::default().stdout(true).stderr(true).follow(true).build();
    let lines: Vec<LogOutput> = docker.logs("life", Some(logs)).take(2).try_collect().await?;
    for line in &lines {
        match line {
            LogOutput::StdOut { message } => assert_eq!(&message[..], b"out 1\n"),
            LogOutput::StdErr { message } => assert_eq!(&message[..], b"err\n"),
            other => panic!("neither stream: {other:?}"),
        }
    }
    let filters = HashMap::from([("label".to_owned(), vec!["tier=front".to_owned()])]);
    let listed =
        docker.list_containers(Some(ListContainersOptionsBuilder::default().filters(&filters).build())).await?;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].names.as_deref(), Some(&["/life".to_owned()][..]));

    docker.pause_container("life").await?;
    let inspected = docker.inspect_container("life", None::<InspectContainerOptions>).await?;
    assert_eq!(inspected.state.and_then(|state| state.paused), Some(true));
    assert_eq!(inspected.host_config.and_then(|host| host.memory), Some(64 << 20));
    docker.unpause_container("life").await?;
    let limits = ContainerUpdateBody { memory: Some(32 << 20), memory_swap: Some(32 << 20), ..Default::default() };
    docker.update_container("life", limits).await?;
    docker.rename_container("life", RenameContainerOptionsBuilder::default().name("other").build()).await?;
    docker.restart_container("other", Some(RestartContainerOptionsBuilder::default().t(0).build())).await?;
    let mut waiting = docker.wait_container("other", None::<WaitContainerOptions>);
    docker.kill_container("other", None::<KillContainerOptions>).await?;
    match waiting.next().await {
        // bollard makes an error of every status but 0.
        Some(Err(BollardError::DockerContainerWaitError { code, .. })) => assert_eq!(code, 137),
        other => panic!("it should have been killed: {other:?}"),
    }
    docker.stop_container("other", Some(StopContainerOptionsBuilder::default().t(1).build())).await?;
    removed(docker, "other").await?;
    assert_eq!(status(docker.inspect_container("other", None::<InspectContainerOptions>).await), 404);
    Ok(())
}

async fn commands(docker: &Docker) -> Outcome {
    created(docker, "web", busybox("sleep|100")).await?;
    docker.start_container("web", None::<StartContainerOptions>).await?;
    let wish = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: words("sh|-c|tr a-z A-Z; echo bad >&2; exit 5"),
        ..Default::default()
    };
    let id = docker.create_exec("web", wish).await?.id;
    let StartExecResults::Attached { output, mut input } = docker.start_exec(&id, None).await? else {
        panic!("it should be attached")
    };
    input.write_all(b"words\n").await?;
    input.shutdown().await?;
    let output: Vec<LogOutput> = output.try_collect().await?;
    let text: String = output.iter().map(ToString::to_string).collect();
    assert!(text.contains("WORDS\n") && text.contains("bad\n"), "{text}");
    assert_eq!(docker.inspect_exec(&id).await?.exit_code, Some(5));

    let top = docker.top_processes("web", Some(TopOptionsBuilder::default().ps_args("aux").build())).await?;
    assert!(top.processes.is_some_and(|rows| rows[0].iter().any(|word| word.contains("sleep"))));
    removed(docker, "web").await
}

async fn attached(docker: &Docker) -> Outcome {
    let body = ContainerCreateBody {
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        ..busybox("tr|a-z|A-Z")
    };
    created(docker, "upper", body).await?;
    let options = AttachContainerOptionsBuilder::default().stdin(true).stdout(true).stream(true).build();
    let AttachContainerResults { output, mut input } = docker.attach_container("upper", Some(options)).await?;
    docker.start_container("upper", None::<StartContainerOptions>).await?;
    input.write_all(b"words\n").await?;
    input.shutdown().await?;
    let shown: Vec<LogOutput> = output.try_collect().await?;
    assert_eq!(shown.iter().map(ToString::to_string).collect::<String>(), "WORDS\n");
    removed(docker, "upper").await
}

async fn files(docker: &Docker) -> Outcome {
    created(docker, "box", busybox("true")).await?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(6);
    header.set_mode(0o640);
    header.set_cksum();
    archive.append_data(&mut header, "file", &b"words\n"[..])?;
    let into = UploadToContainerOptionsBuilder::default().path("/tmp").build();
    docker.upload_to_container("box", Some(into), body_full(archive.into_inner()?.into())).await?;
    let from = DownloadFromContainerOptionsBuilder::default().path("/tmp/file").build();
    let chunks: Vec<_> = docker.download_from_container("box", Some(from)).try_collect().await?;
    let bytes: Vec<u8> = chunks.iter().flatten().copied().collect();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut entry = archive.entries()?.next().ok_or("an empty archive")??;
    let mut text = String::new();
    entry.read_to_string(&mut text)?;
    assert_eq!((text.as_str(), entry.header().mode()? & 0o777), ("words\n", 0o640));
    let changes = docker.container_changes("box").await?.unwrap_or_default();
    assert!(changes.iter().any(|change| change.path == "/tmp/file"), "{changes:?}");
    removed(docker, "box").await
}

async fn volumes_and_networks(docker: &Docker) -> Outcome {
    let wish = VolumeCreateRequest { name: Some("kept".to_owned()), ..Default::default() };
    assert_eq!(docker.create_volume(wish).await?.name, "kept");
    let volumes = docker.list_volumes(None::<ListVolumesOptions>).await?.volumes.unwrap_or_default();
    assert!(volumes.iter().any(|volume| volume.name == "kept"));
    let wish = NetworkCreateRequest { name: "front".to_owned(), ..Default::default() };
    docker.create_network(wish).await?;
    let networks = docker.list_networks(None::<ListNetworksOptions>).await?;
    assert!(networks.iter().any(|network| network.name.as_deref() == Some("front")));
    let published = vec![PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some("0".to_owned()) }];
    let host = HostConfig {
        binds: words("kept:/data"),
        network_mode: Some("front".to_owned()),
        port_bindings: Some(HashMap::from([("80/tcp".to_owned(), Some(published))])),
        ..Default::default()
    };
    let body = ContainerCreateBody { host_config: Some(host), ..busybox("sleep|100") };
    created(docker, "joined", body).await?;
    docker.start_container("joined", None::<StartContainerOptions>).await?;
    let inspected = docker.inspect_container("joined", None::<InspectContainerOptions>).await?;
    let settings = inspected.network_settings.ok_or("no settings of the network")?;
    assert!(settings.networks.is_some_and(|networks| networks.contains_key("front")));
    let ports = settings.ports.and_then(|mut ports| ports.remove("80/tcp").flatten()).unwrap_or_default();
    assert!(ports.iter().any(|port| port.host_port.as_deref().is_some_and(|port| port != "0")), "{ports:?}");
    assert_eq!(inspected.mounts.map(|mounts| mounts.len()), Some(1));
    assert_eq!(status(docker.remove_network("front").await), 403);
    assert_eq!(status(docker.remove_volume("kept", None::<RemoveVolumeOptions>).await), 409);
    removed(docker, "joined").await?;
    docker.remove_network("front").await?;
    docker.remove_volume("kept", None::<RemoveVolumeOptions>).await?;
    Ok(())
}

async fn figures(docker: &Docker) -> Outcome {
    created(docker, "busy", busybox("sleep|100")).await?;
    docker.start_container("busy", None::<StartContainerOptions>).await?;
    let once = StatsOptionsBuilder::default().stream(false).build();
    let sample = docker.stats("busy", Some(once)).next().await.ok_or("no sample")??;
    assert!(sample.memory_stats.and_then(|memory| memory.usage).is_some_and(|usage| usage > 0));
    docker.df(None).await?;
    removed(docker, "busy").await
}

async fn told(docker: &Docker) -> Outcome {
    created(docker, "heard", busybox("true")).await?;
    docker.start_container("heard", None::<StartContainerOptions>).await?;
    docker.wait_container("heard", None::<WaitContainerOptions>).try_collect::<Vec<_>>().await?;
    let filters = HashMap::from([
        ("container".to_owned(), vec!["heard".to_owned()]),
        ("event".to_owned(), ["create", "start", "die"].map(str::to_owned).to_vec()),
    ]);
    let options = EventsOptionsBuilder::default().since("0").filters(&filters).build();
    let events: Vec<_> = docker.events(Some(options)).take(3).try_collect().await?;
    let actions: Vec<&str> = events.iter().filter_map(|event| event.action.as_deref()).collect();
    assert_eq!(actions, ["create", "start", "die"]);
    removed(docker, "heard").await
}
