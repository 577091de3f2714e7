//! Who of a topic's subscribers is next to get a partition, and who is next to give one away.

/// Members in the order of their loads. A range at its lower end all has one load and gets partitions, a range at its
/// upper end gives them; each grows when all in it have had their turn. The loads are kept elsewhere and change in between
/// as the answers say.
pub(super) struct Balancer {
    sorted: Vec<usize>,
    /// The members that get are those before this place.
    low_end: usize,
    /// What each of them had when its turn began. Signed: it begins one below the least load.
    low_load: i64,
    next_low: usize,
    /// The members that give are those from this place on,
    high_start: usize,
    /// and before this one: behind it are those that have nothing to give.
    high_end: usize,
    high_load: i64,
    /// The place behind the next one that gives.
    next_high: usize,
}

impl Balancer {
    /// Begins with these members; `None` if there are none.
    pub(super) fn new(mut members: Vec<usize>, loads: &[usize]) -> Option<Self> {
        members.sort_by_key(|member| (load(loads, *member), *member));
        let (least, most) = (load(loads, *members.first()?), load(loads, *members.last()?));
        let count = members.len();
        Some(Self {
            sorted: members,
            low_end: 0,
            low_load: least - 1,
            next_low: 0,
            high_start: count,
            high_end: count,
            high_load: most + 1,
            next_high: count,
        })
    }

    /// Whether no two of the members that were given to or taken from differ by more than one.
    pub(super) fn is_balanced(&self) -> bool {
        self.high_load - self.low_load <= 1
    }

    /// Who is to get a partition now.
    pub(super) fn next_to_get(&mut self, loads: &[usize]) -> Option<usize> {
        if self.next_low >= self.low_end {
            self.low_load += 1;
            while self.sorted.get(self.low_end).is_some_and(|member| load(loads, *member) == self.low_load) {
                self.low_end += 1;
            }
            self.next_low = 0;
        }
        self.next_low += 1;
        self.sorted.get(self.next_low - 1).copied()
    }

    /// Who is to give a partition away now: the next one of which `can` is true. `None` if there is nobody left.
    pub(super) fn next_to_give(&mut self, loads: &[usize], can: impl Fn(usize) -> bool) -> Option<usize> {
        loop {
            if self.next_high <= self.high_start {
                self.grow_high(loads);
            }
            self.next_high = self.next_high.checked_sub(1)?;
            let member = *self.sorted.get(self.next_high)?;
            if can(member) {
                return Some(member);
            }
            self.high_end -= 1;
            self.sorted.swap(self.next_high, self.high_end);
        }
    }

    fn grow_high(&mut self, loads: &[usize]) {
        let below = |start: usize, sorted: &[usize]| {
            start.checked_sub(1).and_then(|at| sorted.get(at)).map(|member| load(loads, *member))
        };
        self.high_load = match below(self.high_start, &self.sorted) {
            // Nobody in the range had anything to give.
            Some(next) if self.high_end <= self.high_start => next,
            _ => self.high_load - 1,
        };
        while below(self.high_start, &self.sorted) == Some(self.high_load) {
            self.high_start -= 1;
        }
        self.next_high = self.high_end;
    }
}

fn load(loads: &[usize], member: usize) -> i64 {
    loads.get(member).map_or(0, |load| i64::try_from(*load).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_get_first_and_by_their_numbers() {
        let mut loads = vec![2, 0, 1, 0];
        let mut balancer = Balancer::new(vec![0, 1, 2, 3], &loads).unwrap();
        let mut order = Vec::new();
        for _ in 0..8 {
            let member = balancer.next_to_get(&loads).unwrap();
            loads[member] += 1;
            order.push(member);
        }
        assert_eq!(order, [1, 3, 1, 3, 2, 1, 3, 2], "nobody goes before whoever has less");
    }

    #[test]
    fn the_most_loaded_give_first_and_who_has_nothing_is_left_out() {
        let mut loads = vec![1, 4, 4, 5];
        let mut balancer = Balancer::new(vec![0, 1, 2, 3], &loads).unwrap();
        let mut order = Vec::new();
        for _ in 0..3 {
            let member = balancer.next_to_give(&loads, |member| member != 2).unwrap();
            loads[member] -= 1;
            order.push(member);
        }
        assert_eq!(order, [3, 3, 1]);
        assert_eq!(balancer.next_to_give(&loads, |_| false), None);
        assert!(Balancer::new(Vec::new(), &loads).is_none());
    }
}
