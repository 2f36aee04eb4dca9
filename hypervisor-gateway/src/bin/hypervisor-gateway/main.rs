//! The program: one backend over REST.
//!
//! ```text
//! hypervisor-gateway token --name ops --permission '*'        # the first token, printed once
//! hypervisor-gateway --backend qemu:///system --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
//! ```

mod backend;
mod cli;
mod prompt;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;
use hypervisor_gateway::Gateway;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command, LogFormat};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("hypervisor-gateway: {error}");
    ExitCode::FAILURE
}

fn start_log(cli: &Cli) {
    let filter = EnvFilter::try_new(&cli.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
}

async fn run(cli: Cli) -> hypervisor_core::Result<()> {
    if let Some(Command::Token(token)) = &cli.command {
        // A token needs the database alone.
        let nothing = std::sync::Arc::new(hypervisor_core::memory::Memory::new());
        let gateway = Gateway::open(nothing, cli.config()?).await?;
        let permissions: Vec<&str> = token.permissions.iter().map(String::as_str).collect();
        let made = gateway.create_token(&token.name, &permissions, token.lifetime()).await?;
        gateway.close().await;
        println!("{}", made.token);
        eprintln!("token {} was made; it is not shown again", made.id);
        return Ok(());
    }
    serve::serve(cli).await
}
