//! One stage: one backend, all workers, some time, and the verdict.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use hypervisor_core::Hypervisor;
use hypervisor_core::model::EventQuery;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::WORKERS;
use crate::plant::Plant;
use crate::process::tasks;
use crate::tally::Tally;
use crate::verdict::judge;
use crate::worker::Worker;
use crate::world::{Kind, World};

/// How long what a world has spawned may take to end with it.
const ENDING: Duration = Duration::from_secs(15);

pub(crate) struct Stage<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) round: u32,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    /// What goes wrong on purpose.
    pub(crate) plant: Option<Plant>,
}

impl Stage<'_> {
    pub(crate) async fn run(&self) -> Tally {
        let before = tasks();
        let mut tally = Tally::default();
        Box::pin(self.work(&mut tally)).await;
        let begun = Instant::now();
        // What was planted does not end.
        let ending = if self.plant.is_some() { ENDING / 10 } else { ENDING };
        while tasks() > before && begun.elapsed() < ending {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if tasks() > before {
            let left = tasks() - before;
            tally.diverge(format!(
                "{}: {left} tasks of the runtime are left running after round {}",
                self.kind.name,
                self.round + 1
            ));
        }
        tally
    }

    async fn work(&self, tally: &mut Tally) {
        let world = match self.kind.world(self.seed, WORKERS).await {
            Ok(world) => Arc::new(world),
            Err(error) => return tally.diverge(format!("{}: {error}", self.kind.name)),
        };
        let mut reader = JoinSet::new();
        reader.spawn(read(Arc::clone(&world.hv)));
        reader.spawn(tidy(Arc::clone(&world)));
        let until = Instant::now() + self.time;
        let mut workers = JoinSet::new();
        for number in 0..WORKERS {
            workers.spawn(Worker::new(number, Arc::clone(&world), self.seed).run(until));
        }
        let mut models = Vec::new();
        while let Some(ended) = workers.join_next().await {
            match ended {
                Ok((model, part)) => {
                    models.push(model);
                    tally.add(part);
                }
                Err(error) => tally.diverge(format!("{}: a worker died: {error}", self.kind.name)),
            }
        }
        world.weather.clear();
        reader.shutdown().await;
        tally.faults += world.weather.faults();
        if let Some(plant) = self.plant
            && let Err(error) = Box::pin(plant.sow(&world, &models)).await
        {
            tally.diverge(format!("{}: {plant:?} could not be planted: {error}", self.kind.name));
        }
        judge(&world, models, tally).await;
    }
}

/// What fakes keep for tests would look like a leak.
async fn tidy(world: Arc<World>) {
    loop {
        (world.tidy)();
        world.weather.tidy();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Follows the events, as a program would, and begins anew when the stream ends.
async fn read(hv: Arc<dyn Hypervisor>) {
    loop {
        if let Ok(mut events) = hv.watch(&EventQuery::all()).await {
            while let Some(Ok(_)) = events.next().await {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
