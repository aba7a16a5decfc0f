//! Opening: recover → wire the parts → start their steps.

use std::{sync::Arc, time::Duration};

use hintstore_env::{
    Boot, Live, Next, Step, Storage, Waker, event, span,
    sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Signal},
};
use hintstore_writer::{Activity, Bytes, Home, Parts, Writer};

use crate::{
    Config, Environment, Error, Result,
    append::{Admission, Appender},
    compact::{CompactStep, Pass},
    deliver::{Answers, Checkpoints, DeadLetters, Defer, Deliver, Pager, WholeSegments},
    discard::Discarder,
    expire::{Fences, HintWindow, Known, Sweep, TrustedClock},
    loss::NewLosses,
    observe::Subscribers,
    read::{CheckAhead, CheckQueue, SparePages},
    recover::{Recovered, recover},
    space::{CloseFiles, Descriptors, Space},
    store::{Closing, Store},
    store_env::StoreEnv,
    sync_point::SyncPoints,
    target::Targets,
    topology::Members,
    upkeep::{AdmissionUpkeep, Upkeep},
};

/// What was just opened has other things to do.
const FIRST_COMPACTION: Duration = Duration::from_mins(1);

/// Opens a store. Its background steps run from now on.
pub(crate) fn open(environment: Environment, config: Config) -> Result<Store> {
    config.check()?;
    span!("open");
    let recovered = recover(&environment, &config)?;
    event!(info, store = %recovered.store, epoch = recovered.epoch, "opened: {}", recovered.report);
    // What opening opens it also closes; the bound is for what stays open.
    let descriptors = Descriptors::new(environment.storage, config.descriptors_max);
    let Recovered {
        lock,
        store,
        incarnation,
        epoch,
        targets,
        budget,
        journal,
        report,
        earliest_accepted,
        foreign_bytes,
        aside_bytes,
    } = recovered;
    let storage: Arc<dyn Storage> = Arc::new(descriptors.clone());
    let (clock, runner) = (environment.clock, environment.runner);
    let home = Arc::new(Home::new(storage.clone(), &lock));
    let activity = Arc::new(Activity::default());
    let parts = Parts {
        storage: storage.clone(),
        clock: clock.clone(),
        runner: runner.clone(),
        activity: activity.clone(),
        budget: budget.clone(),
        home: home.clone(),
    };
    let writer =
        Writer::start(parts, config.writer(), store, incarnation, epoch).map_err(Error::Threads)?;
    let known = match journal.state.clock {
        Some((wall, boot_ms, boot)) if boot == clock.boot_id() => {
            Known::ThisBoot(wall, Boot::new(Duration::from_millis(boot_ms)))
        }
        Some((wall, ..)) => Known::EarlierBoot(wall),
        // Hints tell when they were accepted, by whatever clock.
        None => earliest_accepted.map_or(Known::Nothing, Known::EarlierBoot),
    };
    let env = Arc::new(StoreEnv {
        time: TrustedClock::new(&*clock, known),
        storage,
        clock,
        runner,
        policy: Live::new(config.policy()),
        config: Live::new(config),
        store,
        incarnation,
        epoch,
        home,
        writer: writer.clone(),
        activity,
        new_losses: NewLosses::default(),
        budget,
        deliver_at: Mutex::default(),
        topology_epoch: AtomicU64::new(0),
        holders: AtomicUsize::new(0),
        spare_pages: SparePages::default(),
        draining: AtomicBool::new(false),
        pages_returned: Signal::new(),
        subscribers: Subscribers::default(),
        closing: AtomicBool::new(false),
        closed: AtomicBool::new(false),
    });
    let targets = Arc::new(Targets::new(writer, targets, env.now().at_least()));
    let fences = Arc::new(Fences::default());
    fences.set(journal.state.fences());
    let admission = Arc::new(Admission::new(&fences));
    admission.fences_changed();
    admission.set_policy(&env.policy.get());
    let loss_receipts = journal.loss_receipts.clone();
    let journal = Arc::new(Mutex::new(journal));
    let (foreign, aside) = (Bytes::new(foreign_bytes), Bytes::new(aside_bytes));
    let space = Arc::new(Space::new(&env, foreign, aside));
    let checkpoints = Arc::new(Checkpoints::new(&env, &targets, &journal, &space));
    let whole = Arc::new(WholeSegments::new(&env, &targets));
    let sweep = Arc::new(Sweep::new(
        &env,
        &targets,
        &checkpoints,
        &whole,
        &fences,
        &journal,
    ));
    let compaction = Arc::new(Pass::new(&env, &targets, &checkpoints, &sweep, &fences));
    let admission_upkeep = Arc::new(AdmissionUpkeep {
        env: env.clone(),
        targets: targets.clone(),
        admission: admission.clone(),
        space: space.clone(),
        window: HintWindow::new(&env, &targets),
        confirmations_seen: AtomicU64::new(0),
    });
    admission_upkeep.refresh(true, env.clock.boot());
    env.activity.touch();
    let defer = Arc::new(Defer::new(&env));
    let check_queue = Arc::new(CheckQueue::new(env.clock.clone()));
    let members = Arc::new(Members::default());
    let discarder = Discarder::new(&env, &targets, &journal, &checkpoints, &whole);
    let discarder = Arc::new(discarder);
    let answers = Arc::new(Answers::new(&env, DeadLetters::new(&env, &space)));
    let pager = Arc::new(Pager::new(&env, &fences, &check_queue, &defer, &answers));
    let store = Store {
        appender: Appender::new(&env, &targets, &admission),
        deliver: Arc::new(Deliver::new(&env, &targets, &pager)),
        pager,
        members: members.clone(),
        sync_points: SyncPoints::new(&env, &targets),
        discarder: discarder.clone(),
        upkeep: Arc::new(Upkeep::new(
            &env,
            &checkpoints,
            &sweep,
            &space,
            &admission_upkeep,
            &members,
            &discarder,
        )),
        targets,
        fences,
        admission,
        checkpoints,
        whole,
        sweep,
        compaction,
        space,
        admission_upkeep,
        descriptors,
        reconfiguring: Mutex::new(()),
        journal,
        loss_receipts,
        report,
        closing: Mutex::new(Closing::Open(lock)),
        env,
    };
    let waker = check_queue.waker.clone();
    start(
        &store,
        Arc::new(CheckAhead(check_queue)),
        waker,
        Next::WhenWoken,
    )?;
    let close_files = Arc::new(CloseFiles(store.descriptors.clone()));
    let waker = store.descriptors.close_waker();
    start(&store, close_files, waker, Next::WhenWoken)?;
    let waker = defer.waker.clone();
    start(&store, defer, waker, Next::WhenWoken)?;
    let compact = Arc::new(CompactStep {
        pass: store.compaction.clone(),
        waker: Waker::default(),
    });
    let waker = compact.waker.clone();
    start(&store, compact, waker, Next::After(FIRST_COMPACTION))?;
    let interval = store.env.config().checkpoint_interval;
    let waker = store.upkeep.waker.clone();
    start(&store, store.upkeep.clone(), waker, Next::After(interval))?;
    Ok(store)
}

fn start(store: &Store, step: Arc<dyn Step>, waker: Waker, first: Next) -> Result<()> {
    let started = store.env.runner.start(step, waker, first);
    started.map_err(Error::Threads)
}
