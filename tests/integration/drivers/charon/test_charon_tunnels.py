"""Tunnels with a customer's real charon: they come up, survive changes of SAs and options, and end when they must."""

from __future__ import annotations

from typing import Any

import pytest

from netorch.drivers.charon.control import Section
from netorch.model.outside import tunnel_problems as words
from netorch.model.outside.secrets import Secret, seal
from netorch.state.daemons.ike import IkeConnection
from netorch.state.op import Delete, Replace
from tests.integration.drivers.charon.certificates import Authority
from tests.integration.drivers.charon.rig import EDGE_ADDRESS, FEW, PSK, VPC, Customer, Site, customer_connection, ip, psk
from tests.rig.world import Traffic, wait_for

pytestmark = pytest.mark.root

CUSTOMER = "198.18.0.80"


def load(customer: Customer, secret: str = PSK, **options: str | list[str] | Section) -> None:
    customer.load(customer_connection(CUSTOMER, **options), psk(secret, CUSTOMER, EDGE_ADDRESS))


def up(world: Site, **changes: object) -> tuple[IkeConnection, Customer]:
    """Return a connection whose tunnel the customer has initiated, and the customer."""
    connection, customer = world.joined(**changes)
    load(customer)
    assert customer.initiate() == ""
    world.edge.wait_up(connection)
    return connection, customer


def spis(world: Site, connection: IkeConnection) -> set[str]:
    """Return the SPIs of a tunnel in the kernel."""
    world.edge.status(connection)
    return {line.split("spi ")[1].split()[0] for line in world.edge.kernel_states().splitlines() if "spi " in line}


def carries(customer: Customer) -> bool:
    """Return whether the customer answers an echo from the VPC."""
    traffic = Traffic(VPC, "192.168.1.1", 0.02)
    wait_for(lambda: traffic.sent >= 3, "echoes")
    return traffic.stop() == 0


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_customer_s_device_begins_a_tunnel(world: Site, version: str) -> None:
    connection, customer = world.joined()
    assert world.edge.status(connection).problem == words.WAITING
    load(customer, version=version)
    assert customer.initiate() == ""
    status = world.edge.wait_up(connection)
    assert (status.ike, status.remote, status.problem) == ("ESTABLISHED", CUSTOMER, "")
    assert status.proposal.startswith("AES_CBC-256/HMAC_SHA2_256_128")
    assert carries(customer)
    status = world.edge.status(connection)
    assert status.packets_in >= 3
    assert status.packets_out >= 3
    assert status.since == world.edge.status(connection).since > 0


def test_the_edge_begins_a_tunnel_that_it_is_to_begin_and_does_so_until_it_is_up(world: Site) -> None:
    connection, customer = world.joined(initiates=True)
    world.edge.status(connection)
    load(customer)
    world.edge.wait_up(connection)
    assert carries(customer)


@pytest.mark.parametrize("version", ["1", "2"])
def test_certificates_prove_who_both_ends_are(world: Site, version: str) -> None:
    authority = Authority(world.directory / "authority", "an-authority")
    ours, theirs = authority.sign("edge.example"), authority.sign("cgw.example")
    connection, customer = world.joined(
        local_identity="edge.example",
        remote_identity="cgw.example",
        certificate=ours.certificate,
        authority=authority.certificate,
        secret=seal(world.edge.key.public, Secret(key=ours.key)),
    )
    assert world.edge.kernel.dump()[connection.key] == connection
    local: Section = {"auth": "pubkey", "id": "cgw.example", "certs": [theirs.certificate]}
    remote: Section = {"auth": "pubkey", "id": "edge.example", "cacerts": [authority.certificate]}
    customer.load(customer_connection(CUSTOMER, version=version, local=local, remote=remote), {"type": "any", "data": theirs.key})
    assert customer.initiate() == ""
    world.edge.wait_up(connection)
    assert carries(customer)


@pytest.mark.parametrize("what", ["ike", "child"])
def test_a_rekeying_loses_no_packet(world: Site, what: str) -> None:
    connection, customer = up(world)
    before = spis(world, connection)
    sas = customer.sas()
    traffic = Traffic(VPC, "192.168.1.1")
    with customer.control() as control:
        control.ask("rekey", {what: "edge" if what == "ike" else "net"})
    if what == "child":
        wait_for(lambda: spis(world, connection).isdisjoint(before), "other SAs")
    else:
        wait_for(lambda: [sa.id for sa in customer.sas() if sa.state == "ESTABLISHED"] > [sas[0].id], "another IKE_SA")
    assert traffic.stop() == 0
    assert world.edge.status(connection).child == "INSTALLED"


def test_another_pre_shared_key_leaves_the_tunnel_alone_and_counts_from_the_next_time_on(world: Site) -> None:
    connection, customer = up(world)
    before, traffic = spis(world, connection), Traffic(VPC, "192.168.1.1")
    rotated = world.edge.connection(secret=world.edge.seal("Another.psk.0123456789"))
    world.edge.apply(Replace(connection, rotated))
    assert world.edge.kernel.dump()[connection.key] == rotated
    world.edge.status(rotated)
    assert spis(world, rotated) == before
    assert traffic.stop() == 0
    customer.forget()
    world.edge.wait_down(rotated)
    load(customer)
    assert customer.initiate() != ""
    world.edge.wait_problem(rotated, words.WRONG_PSK)
    customer.forget()
    load(customer, "Another.psk.0123456789")
    assert customer.initiate() == ""
    world.edge.wait_up(rotated)


def test_other_options_take_effect_at_once_and_cost_a_moment_at_most(world: Site) -> None:
    connection, customer = up(world)
    before, traffic = spis(world, connection), Traffic(VPC, "192.168.1.1")
    other = world.edge.connection(child_lifetime=1800, dpd_delay=5)
    world.edge.apply(Replace(connection, other))
    wait_for(lambda: world.edge.status(other) and spis(world, other).isdisjoint(before), "SAs by the other options")
    assert traffic.stop() <= FEW
    assert carries(customer)


@pytest.mark.parametrize("change", [{"remote_traffic": "192.168.0.0/16"}, {"if_id": 0x138804}])
def test_other_networks_or_another_interface_end_the_tunnel(world: Site, change: dict[str, Any]) -> None:
    connection, customer = up(world)
    before = spis(world, connection)
    world.edge.apply(Replace(connection, world.edge.connection(**change)))
    wait_for(lambda: spis(world, connection).isdisjoint(before), "an end of the SAs")
    wait_for(lambda: not customer.sas(), "the customer's end of the tunnel")


def test_a_connection_that_goes_takes_sas_and_policies_along(world: Site) -> None:
    connection, customer = up(world)
    other = world.edge.connection(2, remote="198.18.0.81")
    world.edge.create(other)
    world.edge.apply(Delete(connection))
    assert world.edge.kernel_states() == ""
    assert "if_id" not in world.edge.kernel_policies()
    wait_for(lambda: not customer.sas(), "the customer's end of the tunnel")
    assert customer.initiate() != ""
    assert world.edge.kernel.dump().keys() >= {other.key}
    assert connection.name not in world.edge.kernel.tunnels()


def test_the_last_connection_takes_the_daemon_along(world: Site) -> None:
    connection, customer = up(world)
    pid = world.edge.pid()
    world.edge.apply(Delete(connection))
    assert not world.edge.runs(pid)
    assert world.edge.kernel_states() == ""
    assert "if_id" not in world.edge.kernel_policies()
    wait_for(lambda: not customer.sas(), "the customer's end of the tunnel")


def test_a_peer_that_falls_silent_is_found_out(world: Site) -> None:
    connection, customer = up(world, dpd_delay=1)
    ip(customer.name, "link set eth0 down")
    facts = world.edge.wait_problem(connection, words.DPD_TIMEOUT)
    assert facts == {"remote": CUSTOMER}
    # charon tells of the end before it takes the SAs out of the kernel.
    wait_for(lambda: world.edge.kernel_states() == "", "an end of the SAs")
    status = world.edge.status(connection)
    assert (status.ike, status.child) == ("", "")


def test_a_peer_that_was_silent_is_begun_again_if_that_is_asked_for(world: Site) -> None:
    connection, customer = up(world, dpd_delay=1, dpd_action="restart")
    ip(customer.name, "link set eth0 down")
    wait_for(lambda: not world.edge.status(connection).child, "an end of the tunnel")
    ip(customer.name, "link set eth0 up")
    customer.forget()
    load(customer)
    world.edge.wait_up(connection)


def test_two_customers_behind_one_address_are_told_apart_by_their_identities(world: Site) -> None:
    nat = world.device("nat")
    world.plug_nat(nat, "198.18.0.90")
    customers = []
    for number, name in enumerate(("c1", "c2"), 1):
        customer = world.device(name)
        world.plug_behind(nat, customer, f"10.9.{number}.2")
        customer.start()
        connection = world.edge.connection(
            number, remote="", remote_identity=f"cgw{number}", secret=world.edge.seal(f"secret.of.{name}.123")
        )
        world.edge.create(connection)
        local: Section = {"auth": "psk", "id": f"cgw{number}"}
        customer.load(
            customer_connection(f"10.9.{number}.2", local=local), psk(f"secret.of.{name}.123", f"cgw{number}", EDGE_ADDRESS)
        )
        customer.inside("eth0", f"192.168.{number}.1")
        world.edge.inside(connection, VPC, "10.1.0.1", f"192.168.{number}.0/24")
        customers.append((connection, customer))
    for connection, customer in customers:
        assert customer.initiate() == ""
        assert world.edge.wait_up(connection).remote.startswith("198.18.0.90:")
    assert len({world.edge.status(connection).remote for connection, _ in customers}) == 2
    for number in (1, 2):
        traffic = Traffic(VPC, f"192.168.{number}.1", 0.02)
        wait_for(lambda traffic=traffic: traffic.sent >= 3, "echoes")  # type: ignore[misc]
        assert traffic.stop() == 0
