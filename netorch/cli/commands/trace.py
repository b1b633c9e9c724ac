"""`netorch trace`: where a packet goes, and why it goes no further."""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import click

from netorch.cli.called import as_called
from netorch.cli.context import Session, complete, pass_session
from netorch.cli.output import output_option, print_table, show_value

if TYPE_CHECKING:
    from netorch.diagnose.trace import Report
    from netorch.trace.way import Hop, RoundTrip, Walk

_PASS, _DROP, _UNKNOWN = "pass", "DROP", "-"


@click.command()
@click.argument("source", shell_complete=complete("i"))
@click.argument("destination", shell_complete=complete("i"))
@click.argument("service", default="icmp", metavar="[PROTO/PORT]")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0, max=60.0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="For the live packet, at most 60.",
)
@output_option
@pass_session
@click.pass_context
def command(
    context: click.Context, session: Session, source: str, destination: str, service: str, timeout: float, output: str
) -> None:
    """Follow a packet that opens a connection: tcp/443, udp/53, icmp (the default) or a protocol number.

    SOURCE and DESTINATION are instances, interface ids, or outside of all VPCs: `internet` or an address. From the internet
    an instance is reached by its public address, from a customer's site by its private one.

    Each hop has three columns. `model`: what the store says should happen. `kernel`: what the kernels of this machine's hosts
    hold. `probe`: what a live packet met, sent from the source's namespace or from outside an edge. A dash means that this way
    has no such place, or that nothing is known of it.

    If the packet arrives, its answer is traced back in the same way: from the internet through each edge, from a site through
    each tunnel or VLAN. Reachable means that all of these answers arrive. A NAT or egress-only gateway is one hop; behind a NAT
    gateway the packet has another source. An interface endpoint is one hop, too; behind it the packet is in the provider's VPC,
    which only its owner and the operator can see. DNS, metadata and gateway endpoints are answered by a host itself.

    Once rules have passed a TCP or UDP connection in both directions, a flowtable of the kernel may forward the rest of it,
    faster, without asking the rules again. If so, the way of later packets from SOURCE to DESTINATION follows; if not, the
    reason. `netorch flows` shows which connections flowtables forward now.

    \b
    netorch trace shop/web-1 internet tcp/443
    netorch trace internet shop/web-1 tcp/80

    Exit codes: 0 reachable, 2 unreachable, or model, kernels and probe disagree. A flowtable that is missing in a kernel is a
    disagreement, too, unless the host's running agent reports the VPC as degraded: then packets are slower than by the records,
    and the exit code is 0.
    """
    from netorch.diagnose.ends import addresses_of, resources_of
    from netorch.diagnose.trace import trace

    inventory = session.neighbourhood(resources_of(source, destination), addresses_of(source, destination))
    report = trace(session.store, inventory, session.caller, source, destination, service, timeout_s=timeout)
    if output != "table":
        show_value(_value(report), output)
    else:
        _show(report)
    context.exit(0 if report.reachable and not report.disagreement else 2)


def _show(report: Report) -> None:
    if report.model is not None:
        _show_way(report, report.model.there, _there(report.kernel), report.said_at, _probe_cell)
        for number, back in enumerate(report.model.backs):
            _show_answer(report, number, back, _back(report.kernel, number))
        if report.model.later is not None:
            _show_later(report, report.model.later, report.kernel.later if report.kernel is not None else None)
        elif report.model.succeeded and report.model.backs:
            click.echo(f"{_later_packets(report)}: rules judge each of them; flowtables forward TCP and UDP only")
    for reason, who in ((report.kernel_problem, "kernel"), (report.live.why_not, "probe")):
        if reason:
            click.echo(f"{who}: {reason}")
    if report.live.probe is not None:
        click.echo(f"probe: {_live_text(report)}")
    for host in report.silent:
        click.echo(f"host {host}: its agent is not running, so its kernel may differ from the model")
    if report.slower:
        text = f"slower than by the records: {report.slower}; see `{as_called('netorch status')}`"
        click.echo(click.style(text, fg="yellow"))
    if report.disagreement:
        text = f"DISAGREEMENT: {report.disagreement}: drift ({_drift(report)}) or a bug in netorch"
        click.echo(click.style(text, fg="red", bold=True), err=True)
    verdict = report.verdict
    if report.reachable:
        by = f", permitted by {verdict.rule}" if verdict.rule else ""
        click.echo(click.style(f"REACHABLE: {report.source} -> {report.destination}{by}", fg="green"))
        return
    assert verdict.code is not None
    click.echo(click.style(f"NOT REACHABLE: {verdict.code.value}: {verdict.sentence}", fg="red"))
    if verdict.fix:
        click.echo(f"fix: {as_called(verdict.fix)}")


def _drift(report: Report) -> str:
    """Return the commands that compare the kernels in question with the records."""
    found = report.kernel or report.model
    hosts = report.offloading.hosts or ((found.there.host,) if found is not None else ())
    commands = [f"netorch drift --host {host}" for host in hosts] or ["netorch status"]
    return ", ".join(f"`{as_called(command)}`" for command in commands)


def _show_answer(report: Report, number: int, model: Walk, kernel: Walk | None) -> None:
    """Print the way of the answer. Where it may come by several edges, those after the first are told if it dies there."""
    assert report.model is not None
    edge = model.hops[0].host
    arrives = model.arrived and (kernel is None or kernel.arrived)
    if number and arrives:
        click.echo(f"the answer, if it comes through {edge}, arrives")
        return
    click.echo(f"the answer{f', if it comes through {edge}' if len(report.model.backs) > 1 else ''}:")
    _show_way(report, model, kernel, report.answer_said_at, _answer_cell)


def _show_later(report: Report, model: Walk, kernel: Walk | None) -> None:
    """Print the way of later packets where flowtables forward them. The live packet is none of these."""
    from netorch.model.security import UDP

    packets = _later_packets(report)
    if model.at_host:
        click.echo(f"{packets}: {model.host} itself answers each of them; groups, ACLs and flowtables do not apply")
        return
    if not model.offloaded_on and (kernel is None or not kernel.offloaded_on):
        manual = 'see docs/design/policy.md, "Offloaded connections", "A slow connection"'
        why = "; ".join(dict.fromkeys(filter(None, report.judged.values()))) or manual
        click.echo(f"{packets}: rules judge each of them; no flowtable forwards them: {why}")
        return
    is_udp = report.packet is not None and report.packet.protocol == UDP
    after = "once both ends have sent some" + (" and two seconds have passed" if is_udp else "")
    flows = f"`{as_called('netorch flows')}` on {', '.join(model.offloaded_on)}"
    click.echo(f"{packets}, {after}{f' (by the records alone; for the kernels, run {flows})' if kernel is None else ''}:")
    _show_way(report, model, kernel, {}, None)
    for host, why in report.judged.items():
        if why:
            click.echo(f"on {host} rules judge each of them: {why}")


def _later_packets(report: Report) -> str:
    return f"later packets from {report.source} to {report.destination}"


def _there(found: RoundTrip | None) -> Walk | None:
    return found.there if found is not None else None


def _back(found: RoundTrip | None, number: int) -> Walk | None:
    return found.backs[number] if found is not None and number < len(found.backs) else None


def _show_way(
    report: Report,
    model: Walk,
    kernel: Walk | None,
    said_at: dict[tuple[str, str], str],
    probe: Callable[[Report, Hop | None], str] | None,
) -> None:
    """Print host, place, what happens, and the verdicts for each place on two walks. Without `probe` there is no live packet."""
    rows = []
    for number, (by_model, by_kernel) in enumerate(_side_by_side(model, kernel), start=1):
        hop = by_model or by_kernel
        assert hop is not None
        verdicts = [_cell(by_model), _cell(by_kernel)]
        if probe is not None:
            verdicts.append(probe(report, by_kernel if kernel is not None else by_model))
        rows.append([str(number), hop.host, hop.place.value, _what(said_at, hop), *verdicts])
    print_table(("", "host", "place", "what", "model", "kernel", *(["probe"] if probe is not None else [])), rows)


def _side_by_side(model: Walk, kernel: Walk | None) -> list[tuple[Hop | None, Hop | None]]:
    """Return the hops of two walks, matched by host and place; None: a walk has no such place there."""
    if kernel is None:
        return [(hop, None) for hop in model.hops]
    first, second = ([(hop.host, hop.place) for hop in walk.hops] for walk in (model, kernel))
    pairs: list[tuple[Hop | None, Hop | None]] = []
    for tag, start, end, other_start, other_end in SequenceMatcher(a=first, b=second, autojunk=False).get_opcodes():
        ours, theirs = model.hops[start:end], kernel.hops[other_start:other_end]
        if tag == "equal":
            pairs += zip(ours, theirs, strict=True)
        else:
            pairs += [(hop, None) for hop in ours]
            pairs += [(None, hop) for hop in theirs]
    return pairs


def _what(said_at: dict[tuple[str, str], str], hop: Hop) -> str:
    """Return what happens at a place; for policy, the rules that decide there. No rules of a VPC stand on edges."""
    if hop.place.value != "policy":
        return hop.said
    came, _, goes = hop.said.partition(" -> ")
    sides = [("egress", came), ("ingress", goes)]
    return "; ".join(said_at[side] for side in sides if side in said_at) or hop.said


def _cell(hop: Hop | None) -> str:
    if hop is None:
        return _UNKNOWN
    return _PASS if hop.ok else _DROP


def _probe_cell(report: Report, hop: Hop | None) -> str:
    """Return what the live packet shows of a place: all passed if it arrived, and of a drop the host that counted it."""
    ways = report.kernel or report.model
    if report.live.arrived is None or ways is None or hop is None:
        return _UNKNOWN
    if report.live.arrived:
        return _PASS
    counted = not hop.ok and (hop.host, ways.there.counter) in report.live.drops
    return _DROP if counted else _UNKNOWN


def _answer_cell(report: Report, hop: Hop | None) -> str:
    """Return what the live packet shows of a place on the way back: all passed if an answer came, and could by one way only."""
    is_known = hop is not None and report.live.answered and report.model is not None and len(report.model.backs) == 1
    return _PASS if is_known else _UNKNOWN


def _live_text(report: Report) -> str:
    live, probe = report.live, report.live.probe
    assert probe is not None
    if probe.arrived:
        return "the packet arrived" + (f", {probe.answer}" if probe.answer else ", no answer")
    counted = ", ".join(f"{counter} on {host}" for host, counter in live.drops)
    return "the packet did not arrive" + (f"; counted: {counted}" if counted else "; no drop was counted on this machine")


def _value(report: Report) -> dict[str, Any]:
    verdict, probe = report.verdict, report.live.probe
    return {
        "source": report.source,
        "destination": report.destination,
        "vpc": report.vpc,
        "reachable": report.reachable,
        "code": verdict.code.value if verdict.code is not None else "",
        "sentence": verdict.sentence,
        "rule": verdict.rule,
        "fix": as_called(verdict.fix),
        "disagreement": report.disagreement,
        "slower": report.slower,
        "rules": report.rules,
        "silent_hosts": list(report.silent),
        "model": _walk_value(_there(report.model), ""),
        "kernel": _walk_value(_there(report.kernel), report.kernel_problem),
        "answer": {
            "rules": report.answer_rules,
            "model": _walk_value(report.model.back if report.model is not None else None, ""),
            "kernel": _walk_value(report.kernel.back if report.kernel is not None else None, report.kernel_problem),
            "edges": [back.host if back.left else back.hops[0].host for back in report.model.backs] if report.model else [],
        },
        "later": {
            "model": _later_value(report.model, ""),
            "kernel": _later_value(report.kernel, report.kernel_problem),
            "judged_on": report.judged,
        },
        "probe": {
            "heard": probe.heard if probe is not None else None,
            "answer": probe.answer if probe is not None else "",
            "why_not": report.live.why_not,
            "drops": [{"host": host, "counter": counter} for host, counter in report.live.drops],
        },
    }


def _later_value(found: RoundTrip | None, problem: str) -> dict[str, Any]:
    later = found.later if found is not None else None
    return {**_walk_value(later, problem), "offloaded_on": list(later.offloaded_on) if later is not None else []}


def _walk_value(found: Walk | None, problem: str) -> dict[str, Any]:
    if found is None:
        return {"arrived": None, "why_not": problem, "hops": []}
    hops = [
        {"host": hop.host, "place": hop.place.value, "said": hop.said, "passed": hop.ok, "rules": [hit.rule for hit in hop.hits]}
        for hop in found.hops
    ]
    return {"arrived": found.arrived, "why_not": "", "counter": found.counter, "hops": hops}
