//! `fusion-sim`: runs, replays and shrinks schedules.
#![allow(clippy::print_stdout, reason = "this program talks to people")]

use std::process::ExitCode;

use fusion_sim::{Report, Settings, mutants, replay, run, setting_of, shrink, storm};

const USAGE: &str = "\
usage: fusion-sim run [--schedules N] [--from SEED] [--setting NAME] [--jobs N]
       fusion-sim run --seed SEED [--setting NAME] [--verbose] [--shrink]
       fusion-sim storm [--directories N] [--others] [--from SEED]
       fusion-sim mutants [--only RULE] [--schedules N]
       fusion-sim settings";

#[derive(Debug)]
struct Arguments {
    schedules: u64,
    from: u64,
    seed: Option<u64>,
    settings: Vec<Settings>,
    jobs: u64,
    directories: usize,
    others: bool,
    verbose: bool,
    shrink: bool,
    only: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("settings") => {
            for settings in Settings::all() {
                println!("{}", settings.name());
            }
            ExitCode::SUCCESS
        }
        Some("run") => match parse(&arguments[1..]) {
            Ok(arguments) => work(&arguments),
            Err(why) => complain(&why),
        },
        Some("storm") => match parse(&arguments[1..]) {
            Ok(arguments) => tell(&storm(arguments.directories, arguments.others, arguments.from)),
            Err(why) => complain(&why),
        },
        Some("mutants") => match parse(&arguments[1..]) {
            Ok(arguments) => mutate(&arguments),
            Err(why) => complain(&why),
        },
        _ => complain("a command is needed"),
    }
}

fn complain(why: &str) -> ExitCode {
    println!("{why}\n{USAGE}");
    ExitCode::from(64)
}

fn parse(words: &[String]) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        schedules: 2_000,
        from: 0,
        seed: None,
        settings: Settings::all(),
        jobs: 1,
        directories: 100_000,
        others: false,
        verbose: false,
        shrink: false,
        only: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number =
            |text: &String| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
        match word.as_str() {
            "--schedules" => arguments.schedules = number(value()?)?,
            "--from" => arguments.from = number(value()?)?,
            "--seed" => arguments.seed = Some(number(value()?)?),
            "--jobs" => arguments.jobs = number(value()?)?.max(1),
            "--directories" => arguments.directories = number(value()?)? as usize,
            "--setting" => {
                let name = value()?;
                let settings = Settings::parse(name);
                arguments.settings =
                    vec![settings.ok_or_else(|| format!("`{name}` is no setting"))?];
            }
            "--only" => arguments.only = Some(value()?.clone()),
            "--others" => arguments.others = true,
            "--verbose" => arguments.verbose = true,
            "--shrink" => arguments.shrink = true,
            other => return Err(format!("`{other}` is not known")),
        }
    }
    Ok(arguments)
}

fn work(arguments: &Arguments) -> ExitCode {
    let report = match arguments.seed {
        Some(seed) => one(arguments, seed),
        None => many(arguments),
    };
    tell(&report)
}

/// Mutants of the rules; fails if one lives.
fn mutate(arguments: &Arguments) -> ExitCode {
    let told = |line: &str| println!("{line}");
    match mutants::run(arguments.only.as_deref(), arguments.schedules, told) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(living) => {
            println!("{living} live");
            ExitCode::FAILURE
        }
        Err(error) => complain(&format!("{error:#}")),
    }
}

fn tell(report: &Report) -> ExitCode {
    print!("{report}");
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(arguments: &Arguments, seed: u64) -> Report {
    let settings = setting_of(&arguments.settings, seed);
    let (report, text) = replay(settings, seed);
    if arguments.verbose {
        println!("{text}");
    }
    if arguments.shrink {
        std::panic::set_hook(Box::new(|_| ()));
        match shrink(settings, seed) {
            None => println!("seed {seed} does not fail under {}", settings.name()),
            Some(shrunk) => {
                println!("{}\nleft: {} operations", shrunk.text, shrunk.operations);
                println!("{}", shrunk.failure);
            }
        }
    }
    report
}

fn many(arguments: &Arguments) -> Report {
    let (from, count) = (arguments.from, arguments.schedules);
    println!("seeds {from} to {}", from + count);
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let share = |job: u64| from + count * job / arguments.jobs;
        let workers: Vec<_> = (0..arguments.jobs)
            .map(|job| scope.spawn(move || run(&arguments.settings, share(job)..share(job + 1))))
            .collect();
        for worker in workers {
            report.add(worker.join().unwrap_or_default());
        }
    });
    report
}
