//! Running the checker: to the end, or to a counterexample.

use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

/// Visits every state of `model`, depth first: that takes some bytes per state and no queue.
/// Panics with a trace if one breaks a rule, and if the model is too small to reach what it says
/// it reaches.
pub(crate) fn exhaust<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Debug + Hash + PartialEq + Clone + Send + Sync,
    M::Action: Debug + PartialEq + Clone,
{
    let begun = Instant::now();
    let properties = model.properties();
    let checker = model.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    let mut found = checker.discoveries();
    for property in &properties {
        let discovery = found.remove(property.name);
        match (&property.expectation, discovery) {
            (Expectation::Always, Some(path)) => {
                panic!("{name}: broken: {}\n{}", property.name, trace(&path.into_actions()))
            }
            (Expectation::Sometimes, None) => panic!("{name}: never reached: {}", property.name),
            _ => {}
        }
    }
    let states = checker.unique_state_count();
    println!("{name}: exhausted, {states} states, {:.1} s", begun.elapsed().as_secs_f64());
}

/// Searches `model` breadth first until a rule is broken, and says in how many steps. Panics if
/// none ever is. ORLOP_TRACES=1 prints the steps.
pub(crate) fn counterexample<M>(name: &str, model: M) -> usize
where
    M: Model + Send + Sync + 'static,
    M::State: Debug + Hash + PartialEq + Clone + Send + Sync,
    M::Action: Debug + PartialEq + Clone,
{
    let begun = Instant::now();
    let rules: Vec<&str> = model
        .properties()
        .iter()
        .filter(|property| property.expectation == Expectation::Always)
        .map(|property| property.name)
        .collect();
    let checker = model.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = rules.iter().find_map(|rule| Some((rule, checker.discovery(rule)?)));
    let states = checker.unique_state_count();
    let Some((rule, path)) = found else { panic!("{name}: not caught in {states} states") };
    let actions = path.into_actions();
    let took = begun.elapsed().as_secs_f64();
    println!("{name}: \"{rule}\" broken in {} steps, {states} states, {took:.1} s", actions.len());
    if std::env::var_os("ORLOP_TRACES").is_some() {
        println!("{}", trace(&actions));
    }
    actions.len()
}

fn trace<A: Debug>(actions: &[A]) -> String {
    actions.iter().map(|action| format!("  {action:?}\n")).collect()
}
