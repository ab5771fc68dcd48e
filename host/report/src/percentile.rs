//! Percentiles by the nearest-rank method: always a measured value, never an interpolated one.

/// The smallest value that is not smaller than `percent` % of all values; none where there are no values. `sorted` is in
/// ascending order, and `percent` at most 100.
#[must_use]
pub fn nearest_rank(sorted: &[u64], percent: u8) -> Option<u64> {
    let rank = (sorted.len() * usize::from(percent)).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_method_s_textbook_values() {
        let values = [15, 20, 35, 40, 50];
        let percents = [0, 5, 20, 21, 30, 40, 50, 60, 61, 95, 100];
        let expected = [15, 15, 15, 20, 20, 20, 35, 35, 40, 50, 50];
        assert_eq!(percents.map(|percent| nearest_rank(&values, percent).unwrap()), expected);
    }

    #[test]
    fn of_one_value_every_percentile_is_that_value_and_of_none_there_is_none() {
        assert_eq!([0, 50, 95, 100].map(|percent| nearest_rank(&[7], percent)), [Some(7); 4]);
        assert_eq!(nearest_rank(&[], 50), None);
    }

    #[test]
    fn of_twenty_values_the_95th_percentile_is_the_last_but_one() {
        let values: Vec<_> = (1..=20).collect();
        assert_eq!([50, 95, 100].map(|percent| nearest_rank(&values, percent).unwrap()), [10, 19, 20]);
    }

    proptest! {
        #[test]
        fn it_is_the_smallest_value_that_enough_values_do_not_exceed(
            mut values in prop::collection::vec(0..100u64, 1..50),
            percent in 1..=100u8,
        ) {
            values.sort_unstable();
            let found = nearest_rank(&values, percent).unwrap();
            let share = |limit: u64| values.iter().filter(|value| **value <= limit).count() * 100;
            let wanted = values.len() * usize::from(percent);
            prop_assert!(share(found) >= wanted);
            prop_assert!(values.iter().filter(|value| **value < found).all(|smaller| share(*smaller) < wanted));
        }
    }
}
