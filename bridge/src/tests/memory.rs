//! What goes first when memory runs short, and what stays.

use super::client::{Door, connect_v5, publish};

#[test]
fn qos_0_goes_first_then_new_clients_then_who_holds_the_most() {
    let door = Door::open();
    let doors = door.site.memory().doors().clone();
    let percent = doors.bytes_max() / 100;
    let mut listener = door.client("listener");
    listener.subscribe("#", 0);
    let mut talker = door.client("talker");
    let mut greedy = door.client_v5("greedy");

    doors.add(75 * percent);
    talker.throw(0x30, "a", "there is room");
    assert_eq!(listener.message().2, "there is room");

    doors.add(6 * percent);
    talker.throw(0x30, "a", "shed");
    talker.publish("a", "QoS 1 is stored");
    assert_eq!(listener.message().2, "QoS 1 is stored");
    assert_eq!(door.bridge.stats().shed, 1);

    doors.add(10 * percent);
    let mut late = door.socket();
    late.send(&connect_v5("late", &[]));
    assert_eq!(late.packet()[3], 0x89);

    doors.add(6 * percent);
    greedy.send(&publish(5, 0x32, "a", 7, &[b'x'; 200_000])[..100_000]);
    greedy.expect(&[0xe0, 2, 0x97, 0]);
    greedy.expect_closed();
    talker.expect_alive();
    listener.expect_alive();

    doors.sub(97 * percent);
    talker.throw(0x30, "a", "there is room again");
    assert_eq!(listener.message().2, "there is room again");
    let _late = door.client("late");
}
