"""Builds of one team, each with a cache of its own and a shared one in a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pipeline.contract.plan import Step
from pipeline.contract.schema import SharedCacheTable
from targets.build import BuildOutcome
from targets.errors import CheckFailed, ConfigError, EnvironmentUnable, PassFailed
from targets.remote.clean import Room, find_room, remove
from targets.remote.shared_cache import SIGN_KEY
from targets.remote.store import Store
from tests.support.cached_steps import KEY
from tests.support.clocks import SteppingClock
from tests.support.key_files import certificate_file, private_file, public_file
from tests.support.stand_builds import Stand
from tests.support.team import Clone, Member, artifact


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "share"
    folder.mkdir()
    return folder


@pytest.fixture
def member(tmp_path: Path, remote: Path) -> Callable[..., Member]:
    def make(name: str, **table: Any) -> Member:
        return Member(tmp_path / name, f"file://{remote}", **table)

    return make


Make = Callable[..., Member]


def blobs(remote: Path) -> dict[str, Path]:
    return {path.name: path for path in (remote / "blobs").rglob("*") if path.is_file()}


def records(remote: Path) -> dict[str, Path]:
    return {path.stem: path for path in (remote / "results").rglob("*.json")}


def test_a_second_clone_gets_all_steps_and_the_artifact(member: Make, remote: Path) -> None:
    first = member("one", push=True)
    made = first.build()
    assert first.ran
    assert not first.warnings
    # What lies there are the bytes of the outputs, under their SHA-256.
    for name, path in blobs(remote).items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name
    assert set(records(remote)) == {planned.step.key for planned in made.plan.steps}

    second = member("two")
    got = second.build()
    assert second.ran == []
    assert {step.reason for step in got.report.passes} == {"cached (shared)"}
    assert artifact(got) == artifact(made) == "weights"
    assert [step.key for step in got.report.passes] == [step.key for step in made.report.passes]
    assert not second.warnings


def test_everything_here_asks_nothing_of_it(member: Make, remote: Path) -> None:
    pushing, reading = member("one", push=True), member("two")
    pushing.build()
    reading.build()
    remote.rename(remote.with_name("gone"))  # whoever asked now would be warned
    for again in (pushing, reading):
        again.build()
        assert again.ran == []
        assert not again.warnings


def test_who_does_not_push_brings_nothing(member: Make, remote: Path) -> None:
    member("one").build()
    assert not list(remote.iterdir())


def test_what_was_made_before_it_was_shared_is_brought(member: Make) -> None:
    one = member("one")
    one.build()
    one.table = one.table.model_copy(update={"push": True})
    one.build()
    assert one.ran == []
    two = member("two")
    two.build()
    assert two.ran == []


def test_a_step_is_there_before_the_next_one_ends(member: Make, remote: Path) -> None:
    """A build that is killed then has lost one step only."""

    class Watched(Stand):
        def after(self, step: Step) -> None:
            for _ in range(200):
                if step.key in records(remote):
                    seen.append(step.name)
                    return
                threading.Event().wait(0.05)

    seen: list[str] = []
    member("one", push=True).build(stand := Watched("venv"))
    assert seen == stand.ran


@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_a_damaged_blob_is_named_refused_and_replaced(
    member: Make, remote: Path, damage: str
) -> None:
    made = member("one", push=True).build()
    (blob,) = {file.sha256 for file in made.report.files}
    place = blobs(remote)[blob]
    if damage == "flipped":
        place.write_bytes(b"W" + place.read_bytes()[1:])
    elif damage == "truncated":
        place.write_bytes(place.read_bytes()[:-1])
    else:
        place.unlink()
    reading = member("two")
    got = reading.build()
    assert artifact(got) == "weights"
    assert reading.ran
    assert blob[:12] in reading.warnings[0]
    words = {"flipped": "damaged", "truncated": "truncated", "gone": "not in the shared cache"}
    assert words[damage] in reading.warnings[0]
    assert "model.bin" in reading.warnings[0]

    member("three", push=True).build()
    assert hashlib.sha256(place.read_bytes()).hexdigest() == blob
    last = member("four")
    last.build()
    assert last.ran == []


def test_two_writers_at_once_are_both_right(member: Make) -> None:
    members = [member("one", push=True), member("two", push=True)]
    outcomes: dict[int, BuildOutcome] = {}
    # Their bytes differ: a training is not the same on each CPU.
    stands = [Stand("venv", "of one"), Stand("venv", "of two")]

    def build(number: int) -> None:
        outcomes[number] = members[number].build(stands[number])

    threads = [threading.Thread(target=build, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    third = member("three")
    assert artifact(third.build()) in {artifact(outcome) for outcome in outcomes.values()}
    assert third.ran == []
    assert not third.warnings


def rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what an unsigned record says."""
    envelope = json.loads(file.read_bytes())
    record = json.loads(base64.b64decode(envelope["payload"]))
    change(record)
    envelope["payload"] = base64.b64encode(json.dumps(record).encode()).decode()
    file.write_text(json.dumps(envelope))


def with_path(path: str) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["result"]["files"][0].update(path=path)


LIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "a path outside": with_path("../../../escaped"),
    "an absolute path": with_path("/tmp/escaped"),  # noqa: S108
    "a deep path": with_path("/".join("a" * 40)),
    "a name that is no text": with_path("a\nb"),
    "the result of another step": lambda record: record["result"].update(key="ef" * 32),
    "the type of another step": lambda record: record["result"].update(type="other"),
    "a digest that is none": lambda record: record["result"]["files"][0].update(sha256="../../x"),
    "a negative size": lambda record: record["result"]["files"][0].update(bytes=-1),
    "more bytes than a disk has": lambda record: record["result"]["files"][0].update(bytes=10**18),
    "a failed check": lambda record: record["result"].update(
        verdicts=[{"name": "x", "status": "failed"}]
    ),
    "a new version": lambda record: record.update(schema_version=2),
    "a file twice": lambda record: record["result"]["files"].append(record["result"]["files"][0]),
}


@pytest.mark.parametrize("lie", LIES)
def test_nothing_that_a_record_says_is_believed(
    member: Make, remote: Path, lie: str, tmp_path: Path
) -> None:
    made = member("one", push=True).build()
    key = made.plan[made.plan.artifact].step.key
    rewrite(records(remote)[key], LIES[lie])
    two = member("two")
    if lie == "more bytes than a disk has":
        with pytest.raises(EnvironmentUnable, match="room"):
            two.build()
        return
    assert artifact(two.build()) == "weights"
    assert made.plan.artifact in two.ran
    assert two.warnings
    assert not list(tmp_path.rglob("escaped"))


def test_a_record_that_is_noise_is_not_used(member: Make, remote: Path) -> None:
    member("one", push=True).build()
    for file in records(remote).values():
        file.write_bytes(b"\x00\xff not JSON")
    two = member("two", push=True)
    two.build()
    assert two.ran
    assert all("damaged" in line for line in two.warnings)
    three = member("three")  # and the second one mended it
    three.build()
    assert three.ran == []


# Trust.


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    (folder / name).mkdir()
    return private_file(folder / name, key), public_file(folder, key, f"{name}.pub")


def test_only_what_a_trusted_key_signed_is_used(
    member: Make, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = key_pair(tmp_path, "team")
    other, _ = key_pair(tmp_path, "other")
    trust = (str(public),)
    member("one", push=True).build()  # unsigned
    two = member("two", trust=trust, push=True)
    two.build()
    assert two.ran
    assert all("is not signed by the key team.pub" in line for line in two.warnings)
    assert two.warnings
    before = {key: path.read_bytes() for key, path in records(remote).items()}

    monkeypatch.setenv(SIGN_KEY, str(private))
    member("three", trust=trust, push=True).build()  # replaces what nobody may use
    after = {key: path.read_bytes() for key, path in records(remote).items()}
    assert all(after[key] != before[key] for key in after)
    four = member("four", trust=trust)
    four.build()
    assert four.ran == []
    assert not four.warnings

    key = next(iter(after))
    records(remote)[key].write_bytes(after[key].replace(b'"sig":"', b'"sig":"00'))
    five = member("five", trust=trust)
    five.build()
    assert any("signed by somebody else" in line for line in five.warnings)

    monkeypatch.setenv(SIGN_KEY, str(other))
    with pytest.raises(ConfigError, match="none of the keys that the config trusts"):
        member("six", trust=trust, push=True).build()


def test_a_signed_result_of_another_step_is_not_used(
    tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = key_pair(tmp_path, "team")
    monkeypatch.setenv(SIGN_KEY, str(private))
    one = Clone(tmp_path / "one", f"file://{remote}", trust=(str(public),))
    one.push()
    other = "cd" * 32
    replayed = remote / "results" / "cd" / f"{other}.json"
    replayed.parent.mkdir()
    replayed.write_bytes(records(remote)[KEY].read_bytes())
    two = Clone(tmp_path / "two", f"file://{remote}", trust=(str(public),))
    assert set(two.shared().find([KEY, other])) == {KEY}
    (warning,) = two.warnings
    assert "it is that of another step" in warning


def signed_clone(
    tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path, Path]:
    """Bring a step to the shared cache, signed; return its record, and the pair of keys."""
    private, public = key_pair(tmp_path, "team")
    monkeypatch.setenv(SIGN_KEY, str(private))
    Clone(tmp_path / "one", f"file://{remote}", trust=(str(public),)).push()
    return records(remote)[KEY], private, public


def test_a_signed_list_of_files_cannot_be_replaced(
    tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _, public = signed_clone(tmp_path, remote, monkeypatch)
    evil = hashlib.sha256(b"evil").hexdigest()
    blob = remote / "blobs" / evil[:2] / evil
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(b"evil")
    rewrite(record, lambda said: said["result"]["files"][0].update(sha256=evil, bytes=4))
    two = Clone(tmp_path / "two", f"file://{remote}", trust=(str(public),))
    assert two.get() is None
    assert "signed by somebody else" in two.warnings[0]
    # So the signature it is that keeps it out: without trust, it comes.
    assert Clone(tmp_path / "three", f"file://{remote}").get() == "evil"


@pytest.mark.parametrize("forgery", ["another key by this name", "of another type", "both"])
def test_a_signature_that_was_not_made_for_it_does_not_count(
    tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, forgery: str
) -> None:
    record, private, public = signed_clone(tmp_path, remote, monkeypatch)
    other, _ = key_pair(tmp_path, "other")
    envelope = json.loads(record.read_bytes())
    payload = base64.b64decode(envelope["payload"])
    (genuine,) = envelope["signatures"]

    def signature(file: Path, payload_type: str) -> dict[str, str]:
        """As the standard has it: https://github.com/secure-systems-lab/dsse/blob/master."""
        kind = payload_type.encode()
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
        key = load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        made = base64.b64encode(key.sign(signed)).decode()
        return {"keyid": genuine["keyid"], "sig": made}

    # What the team's key signs anywhere else is of another type: a release, an image.
    named = signature(other, envelope["payloadType"])
    elsewhere = signature(private, "application/vnd.in-toto+json")
    forged = {
        "another key by this name": [named],
        "of another type": [elsewhere],
        "both": [named, elsewhere],
    }[forgery]
    two = Clone(tmp_path / "two", f"file://{remote}", trust=(str(public),))
    record.write_text(json.dumps({**envelope, "signatures": forged}))
    assert two.get() is None
    assert "signed by somebody else" in two.warnings[0]
    right = signature(private, envelope["payloadType"])
    record.write_text(json.dumps({**envelope, "signatures": [*forged, right]}))
    assert two.get() == "weights"


def test_a_certificate_that_has_expired_is_said_before_anything_is_used(
    tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, private, _ = signed_clone(tmp_path, remote, monkeypatch)
    key = load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    for first, last, counts in ((-1, 1, True), (-9, -1, False)):
        certificate = certificate_file(tmp_path, key, first, last)
        clone = Clone(tmp_path / f"until {last}", f"file://{remote}", trust=(str(certificate),))
        if counts:
            assert clone.get() == "weights"
        else:
            with pytest.raises(CheckFailed, match="expired on"):
                clone.get()


def test_what_a_removed_key_signed_is_not_used_any_more(
    member: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen, stolen_public = key_pair(tmp_path, "stolen")
    private, public = key_pair(tmp_path, "team")
    monkeypatch.setenv(SIGN_KEY, str(stolen))
    both = (str(stolen_public), str(public))
    member("thief", trust=both, push=True).build(Stand("venv", "poison"))
    monkeypatch.delenv(SIGN_KEY)
    one, fresh = (member(name, trust=both) for name in ("one", "fresh"))
    assert artifact(one.build()) == "poison"  # while nobody knows
    fresh.shared().find(key.stem for key in records(tmp_path / "share").values())

    for somebody in (one, fresh):  # with and without the bytes of it in the cache
        somebody.trust = [public]
        assert artifact(somebody.build()) == "weights"
        assert somebody.ran
        assert "signed by somebody else, and not by the key team.pub" in somebody.warnings[-1]
    # What was made here in place of it is brought by who may, and by nobody before.
    monkeypatch.setenv(SIGN_KEY, str(private))
    one.table = one.table.model_copy(update={"push": True})
    one.build()
    assert one.ran == []
    last = member("last", trust=(str(public),))
    assert artifact(last.build()) == "weights"
    assert last.ran == []


def only_the_adapter(made: BuildOutcome, remote: Path) -> None:
    """Leave nothing else in the shared cache of what was made."""
    lora = made.plan["lora"].step.key
    for key, file in records(remote).items():
        if key != lora:
            file.unlink()


def test_what_was_made_here_of_it_goes_with_it_whenever_a_build_is_broken_off(
    member: Make, remote: Path, tmp_path: Path
) -> None:
    class Broken(Stand):
        def after(self, step: Step) -> None:
            if step.name == "lora":
                raise PassFailed("broken off")

    only_the_adapter(member("thief", push=True).build(Stand("venv", "poison")), remote)
    one = member("one")
    assert artifact(one.build()) == "poison"
    made_of_it = {"merge-for-checks", "adapted_reference", "evaluate-tuned", "quality"}
    assert "lora" not in one.ran
    made_of_it &= set(one.ran)
    assert len(made_of_it) >= 3
    one.trust = [key_pair(tmp_path, "team")[1]]
    planned = one.world.builder(Stand("venv"), shared=one.shared()).plan()
    assert planned["lora"].reason == "it came from a shared cache that is not trusted here"
    assert planned["merge-for-checks"].reason.startswith("lora came from a shared cache")
    broken = Broken("venv")
    with pytest.raises(PassFailed):
        one.build(broken)
    assert broken.ran == ["lora"]
    one.build()
    assert made_of_it <= {*one.ran}
    assert "evaluate-base" not in one.ran  # nothing of it is in there
    one.build()
    assert one.ran == []


def test_what_one_config_takes_from_a_shared_cache_decides_for_no_other(
    member: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = key_pair(tmp_path, "team")
    evil = tmp_path / "evil"
    evil.mkdir()
    Member(tmp_path / "stranger", f"file://{evil}", push=True).build(Stand("venv", "poison"))
    victim = member("victim")
    own = victim.table
    victim.table = SharedCacheTable(remote=f"file://{evil}")
    assert artifact(victim.build()) == "poison"  # whoever names that cache believes it
    assert artifact(victim.build()) == "poison"
    assert victim.ran == []

    # The same steps of a config that names another one, and has the rights to bring and to sign.
    monkeypatch.setenv(SIGN_KEY, str(private))
    victim.table = own.model_copy(update={"push": True})
    victim.trust = [public]
    assert artifact(victim.build()) == "weights"
    assert victim.ran
    assert not victim.warnings
    colleague = member("colleague", trust=(str(public),))
    assert artifact(colleague.build()) == "weights"
    assert colleague.ran == []
    # What was made here is anybody's.
    victim.table, victim.trust = SharedCacheTable(remote=f"file://{evil}"), []
    assert artifact(victim.build()) == "weights"
    assert victim.ran == []


def test_without_a_shared_cache_nothing_of_one_is_used(member: Make) -> None:
    member("one", push=True).build()
    two = member("two")
    two.build()
    assert two.ran == []
    stand = Stand("venv", "of two")
    outcome = two.world.builder(stand).build(two.world.dist)
    assert stand.ran
    assert artifact(outcome) == "of two"


# The disk here, and a shared cache that cannot be used.


def test_a_full_disk_ends_the_build_with_what_to_do_and_the_next_one_goes_on(
    member: Make,
) -> None:
    member("one", push=True).build(Stand("venv", "w" * (3 << 20)))
    two = member("two")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, hard))  # no file may become larger
    try:
        with pytest.raises(EnvironmentUnable, match="cannot be taken from the shared cache") as no:
            two.build()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "clean" in no.value.hint
    two.build()
    assert two.ran == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_rights_are_said_once_with_what_to_do(member: Make, remote: Path) -> None:
    remote.chmod(0o500)
    one = member("one", push=True)
    try:
        one.build()
    finally:
        remote.chmod(0o700)
    assert len(one.warnings) == 1
    assert "let whoever builds read the folder, and to push write it" in one.warnings[0]


def test_bytes_that_have_arrived_do_not_come_again(member: Make, remote: Path) -> None:
    made = member("one", push=True).build(Stand("venv", "w" * (20 << 20)))
    two = member("two")
    (file,) = made.report.files
    # What a killed build left of it. If that was asked for again, it would show.
    for planned in made.plan.steps:
        parts = two.world.cache.incoming(f"{planned.step.key}.parts")
        parts.mkdir(parents=True)
        (parts / f"{file.sha256}.partial").write_bytes(b"w" * (19 << 20))
    place = blobs(remote)[file.sha256]
    place.write_bytes(b"x" * (19 << 20) + b"w" * (1 << 20))
    two.build(Stand("venv", "w" * (20 << 20)))
    assert two.ran == []


def test_what_others_removed_is_brought_again_after_a_week(tmp_path: Path, remote: Path) -> None:
    one = Clone(tmp_path / "one", f"file://{remote}")
    one.push()
    records(remote)[KEY].unlink()
    one.push()
    assert not records(remote)  # it is not looked at each time
    (note,) = (tmp_path / "one" / "shared").glob("*/there/*")
    eight_days_ago = (datetime.now(timezone.utc) - timedelta(days=8)).timestamp()
    os.utime(note, (eight_days_ago, eight_days_ago))
    one.push()
    assert Clone(tmp_path / "two", f"file://{remote}").get() == "weights"


def test_a_result_that_a_build_has_is_in_use(tmp_path: Path, remote: Path) -> None:
    one = Clone(tmp_path / "one", f"file://{remote}")
    one.push()
    long_ago = (datetime.now(timezone.utc) - timedelta(days=60)).timestamp()
    (note,) = (tmp_path / "one" / "shared").glob("*/there/*")
    for path in (note, records(remote)[KEY]):
        os.utime(path, (long_ago, long_ago))
    assert len(unused_for_a_month(remote).results) == 1
    one.push()
    assert unused_for_a_month(remote).results == ()
    assert Clone(tmp_path / "two", f"file://{remote}").get() == "weights"


def test_old_results_go_and_then_the_bytes_that_no_result_names(member: Make, remote: Path) -> None:
    made = member("one", push=True).build()
    (named,) = blobs(remote)
    unnamed = remote / "blobs" / "ab" / ("ab" * 32)
    unnamed.parent.mkdir(exist_ok=True)
    unnamed.write_text("left by a killed build")
    young = unused_for_a_month(remote)
    assert not young.results + young.blobs
    long_ago = (datetime.now(timezone.utc) - timedelta(days=60)).timestamp()
    for path in (unnamed, blobs(remote)[named]):
        os.utime(path, (long_ago, long_ago))
    found = unused_for_a_month(remote).blobs
    assert [Path(stored.path).name for stored in found] == [unnamed.name]
    for path in records(remote).values():
        os.utime(path, (long_ago, long_ago))
    room = unused_for_a_month(remote)
    assert len(room.results) == len({planned.step.key for planned in made.plan.steps})
    remove(Store(f"file://{remote}"), room)
    assert not records(remote)
    assert not blobs(remote)


@pytest.mark.parametrize("days", [40, pytest.param(-40, marks=pytest.mark.slow)])
def test_clean_goes_by_the_clock_of_the_store(
    member: Make, remote: Path, tmp_path: Path, days: int
) -> None:
    Clone(tmp_path / "one", f"file://{remote}").push()
    clean = member("two").command("clean", "--remote", "--older-than", "30", "--json")
    clock = SteppingClock(tmp_path / "clock")
    clock.step(days * 86_400)

    def cleaned(*options: str) -> dict[str, list[str]]:
        environment = {**os.environ, **clock.around.environment}
        ended = subprocess.run(
            [*clock.around.before, *clean, *options],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        found: dict[str, list[str]] = json.loads(ended.stdout)
        return found

    assert cleaned()["found"] == []
    # As that clock has it, what was brought sixty days ago may be of yesterday or of tomorrow.
    long_ago = (datetime.now(timezone.utc) - timedelta(days=60)).timestamp()
    for path in (*records(remote).values(), *blobs(remote).values()):
        os.utime(path, (long_ago, long_ago))
    everything = len(records(remote)) + len(blobs(remote))
    assert len(cleaned("--dry-run")["found"]) == everything
    assert len(cleaned()["removed"]) == everything
    assert not records(remote)
    assert not blobs(remote)


def test_what_is_brought_again_goes_by_the_clock_of_the_store(tmp_path: Path, remote: Path) -> None:
    Clone(tmp_path / "one", f"file://{remote}").push()
    eight_days_ago = (datetime.now(timezone.utc) - timedelta(days=8)).timestamp()
    for path in (*records(remote).values(), *blobs(remote).values()):
        os.utime(path, (eight_days_ago, eight_days_ago))
    clock = SteppingClock(tmp_path / "clock")
    clock.step(-30 * 86_400)  # for it, all of that is yet to come
    subprocess.run(
        [
            *clock.around.before,
            sys.executable,
            "-c",
            _PUSH,
            str(tmp_path / "two"),
            f"file://{remote}",
        ],
        env={**os.environ, **clock.around.environment},
        check=True,
    )
    times = [path.stat().st_mtime for path in records(remote).values()]
    assert min(times) > eight_days_ago + 7 * 86_400


_PUSH = """
import sys
from pathlib import Path
from tests.support.team import Clone
clone = Clone(Path(sys.argv[1]), sys.argv[2])
clone.push()
assert not clone.lines, clone.lines
"""


def unused_for_a_month(remote: Path) -> Room:
    store = Store(f"file://{remote}")
    return find_room(store, timedelta(days=30), store.now())


@pytest.mark.parametrize("address", ["az://account/container/team", "s3://bucket/team"])
def test_it_cannot_be_reached_and_its_keys_are_nowhere(
    member: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    planted = base64.b64encode(b"a planted key of a cloud").decode()
    for name in ("AZURE_STORAGE_ACCOUNT_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, planted)
    for name in ("AZURE_STORAGE_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/nobody")
    one = member("one")
    one.table = SharedCacheTable(remote=address, push=True)
    outcome = one.build()
    assert one.ran
    assert len(one.warnings) == 1
    assert f"{address} cannot be reached" in one.warnings[0]
    told = [*one.world.view.lines, outcome.report.model_dump_json(), str(outcome.plan)]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(planted.encode() in text for text in [*map(str.encode, told), *written])
    with pytest.raises(ValueError, match="credentials never stand here"):
        SharedCacheTable(remote=f"az://account/container?sig={planted}")
