//! The crash sweep: every kind of operation, with every call of a plugin going wrong before or after it acted,
//! with the host dying at every commit, with callers that cancel and delete at every point. Whatever
//! happens, each operation ends in one way, and nothing is left behind.

mod bringing_back;
mod cases;
mod crowd;
mod rows;
mod scenario;
mod supervision;

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth::model::{OperationKind, OperationStatus, Outcome};
use berth::store::memory::Fault as StoreFault;
use berth_tests::fake::{Fault, When};
use scenario::{Act, Meddle, Point, Report, Scenario};

const DEATHS: [StoreFault; 2] = [StoreFault::KillBefore, StoreFault::KillAfter];
/// What somebody may want of an instance that is there.
const WISHES: [OperationKind; 4] = [
    OperationKind::Stop,
    OperationKind::Start,
    OperationKind::Restart,
    OperationKind::Delete,
];
const LOST_ANSWERS: [StoreFault; 2] = [StoreFault::Lost, StoreFault::TakenUnheard];

/// A call goes wrong, and the host dies at every commit on the way.
#[test]
fn every_failing_call_and_every_death() {
    for kind in OperationKind::ALL {
        let clean = Scenario::of(kind);
        let calls = run_one(&clean).calls;
        // In the record a panic is a failure, and a plugin that is gone is one that is not ready.
        run_all(
            &failing_at(&clean, 1..=calls, &[Fault::Panics, Fault::Gone]),
            check_outcome,
        );
        let mut failing = failing_at(&clean, 1..=calls, &[Fault::Fails, Fault::NotYet]);
        failing.push(clean);
        let reports = run_all(&failing, check_outcome);
        run_all(&dying(&failing, &reports), |scenario, report| {
            assert_eq!(report.deaths, 1, "{scenario:?} was to die");
        });
    }
}

/// A call goes wrong, then one of those that undo or repeat it, and the host dies on the way.
#[test]
fn every_failing_undo_and_every_death() {
    for kind in OperationKind::ALL {
        let clean = Scenario::of(kind);
        let last = run_one(&clean).calls;
        let failing = Scenario {
            // After the last call there is the most to undo; a panic is what no kind but those that insist bears.
            calls: vec![(last, Fault::Panics, When::After)],
            ..clean.clone()
        };
        let calls = run_one(&failing).calls;
        assert!(calls > last, "{kind:?} was not undone or repeated");
        let all = [Fault::Fails, Fault::NotYet, Fault::Gone, Fault::Panics];
        let failing = failing_at(&failing, last + 1..=calls, &all);
        let reports = run_all(&failing, check_outcome);
        run_all(&dying(&failing, &reports), |_, _| {});
    }
}

/// The host dies again while it recovers from having died.
#[test]
fn every_death_and_another_one() {
    for kind in OperationKind::ALL {
        let commits = run_one(&Scenario::of(kind)).commits;
        let mut twice = Vec::new();
        for first in 1..=commits {
            for then in 1..=commits {
                twice.extend(DEATHS.map(|death| Scenario {
                    commits: vec![(first, death), (then, death)],
                    ..Scenario::of(kind)
                }));
            }
        }
        let reports = run_all(&twice, |_, _| {});
        assert!(reports.iter().any(|report| report.deaths == 2));
    }
}

/// A commit fails, or is taken and nobody hears of it.
#[test]
fn every_lost_answer_of_the_store() {
    for kind in OperationKind::ALL {
        let clean = Scenario::of(kind);
        let calls = run_one(&clean).calls;
        let mut scenarios = failing_at(&clean, 1..=calls, &[Fault::Fails]);
        scenarios.push(clean);
        let reports = run_all(&scenarios, check_outcome);
        run_all(
            &with_commits(&scenarios, &reports, LOST_ANSWERS),
            |scenario, report| {
                if let ([], Some(outcome)) = (&*scenario.calls, report.outcome) {
                    assert_eq!(outcome, OperationStatus::Succeeded, "{scenario:?}");
                }
            },
        );
    }
}

/// Somebody cancels it or wants something else at every point, and the host dies at every commit.
#[test]
fn every_cancellation_and_other_wish_meanwhile() {
    for kind in OperationKind::ALL {
        let clean = Scenario::of(kind);
        let Report { commits, calls, .. } = run_one(&clean);
        // The last of them ends it: nothing is left to cancel then.
        let last = commits - 1;
        let commits = (1..=last).map(Point::Commit);
        let points: Vec<Point> = commits.chain((1..=calls).map(Point::Call)).collect();
        let meddling = |act| {
            let at = |at: &Point| Scenario {
                meddle: Some(Meddle { at: *at, act }),
                ..clean.clone()
            };
            points.iter().map(at).collect::<Vec<_>>()
        };
        for wish in WISHES {
            run_all(&meddling(Act::BeginTwice(wish)), |_, _| {});
        }
        let ended = rows::after(kind, Outcome::Succeeded).expect("every kind can succeed");
        for act in WISHES.map(Act::Begin).into_iter().chain([Act::Cancel]) {
            let scenarios = meddling(act);
            let reports = run_all(&scenarios, |scenario, report| {
                let is_late = |meddle: Meddle| matches!(meddle.at, Point::Commit(n) if n == last);
                let too_late = scenario.meddle.is_some_and(is_late);
                let expected = match act {
                    Act::Cancel => kind.cancellable() && !too_late,
                    Act::Begin(wish) if too_late => ended.phase.begin(wish).is_ok(),
                    Act::Begin(wish) | Act::BeginTwice(wish) => wish.preempts(kind),
                };
                assert_eq!(report.meddled, expected, "{scenario:?}");
            });
            let granted = |report: &&Report| report.meddled;
            if reports.iter().filter(granted).count() > 1 {
                run_all(&dying(&scenarios, &reports), |_, _| {});
            }
        }
    }
}

/// Without a death it is known how it must end.
fn check_outcome(scenario: &Scenario, report: &Report) {
    let fatal = scenario.calls.iter().any(|(number, fault, _)| {
        let call = report.called.get(number - 1);
        call.is_some_and(|call| rows::is_fatal(scenario.kind, *call, *fault))
    });
    let expected = if fatal {
        Outcome::Failed
    } else {
        Outcome::Succeeded
    };
    assert_eq!(report.outcome, Some(expected.into()), "{scenario:?}");
}

/// The scenario with each of these calls going wrong, before and after it acted.
fn failing_at(
    scenario: &Scenario,
    calls: RangeInclusive<usize>,
    faults: &[Fault],
) -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for number in calls {
        for fault in faults {
            for when in [When::Before, When::After] {
                let mut failing = scenario.clone();
                failing.calls.push((number, *fault, when));
                scenarios.push(failing);
            }
        }
    }
    scenarios
}

fn dying(scenarios: &[Scenario], reports: &[Report]) -> Vec<Scenario> {
    with_commits(scenarios, reports, DEATHS)
}

/// Each scenario with each fault at each of its commits.
fn with_commits(
    scenarios: &[Scenario],
    reports: &[Report],
    faults: [StoreFault; 2],
) -> Vec<Scenario> {
    let mut result = Vec::new();
    for (scenario, report) in scenarios.iter().zip(reports) {
        for number in 1..=report.commits {
            result.extend(faults.map(|fault| Scenario {
                commits: vec![(number, fault)],
                ..scenario.clone()
            }));
        }
    }
    result
}

fn run_one(scenario: &Scenario) -> Report {
    run_all(std::slice::from_ref(scenario), |_, _| {}).remove(0)
}

/// Run scenarios on all cores, each in paused time of its own. Panics with those that failed.
fn run_all(scenarios: &[Scenario], check: impl Fn(&Scenario, &Report) + Sync) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let reports: Vec<Mutex<Option<Report>>> = scenarios.iter().map(|_| Mutex::default()).collect();
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some((index, scenario)) = {
            let index = next.fetch_add(1, Ordering::SeqCst);
            scenarios.get(index).map(|scenario| (index, scenario))
        } {
            match catch_unwind(AssertUnwindSafe(|| {
                let report = run(scenario);
                check(scenario, &report);
                report
            })) {
                Ok(report) => *reports[index].lock().unwrap() = Some(report),
                Err(_) => failed.lock().unwrap().push(format!("{scenario:?}")),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    println!("{} scenarios", scenarios.len());
    let failed = failed.into_inner().unwrap();
    let shown = failed
        .iter()
        .take(5)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        failed.is_empty(),
        "{} of {} scenarios failed, these first:\n{shown}",
        failed.len(),
        scenarios.len()
    );
    reports
        .into_iter()
        .map(|report| report.into_inner().unwrap().expect("none failed"))
        .collect()
}

fn run(scenario: &Scenario) -> Report {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(scenario.run())
}
