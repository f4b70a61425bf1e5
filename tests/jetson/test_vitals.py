"""Temperatures, clocks and throttling as a Jetson's kernel shows them, and a process's own use."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest

from edgefoundad_jetson.vitals import heat, usage


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_the_sensors_of_a_jetson_are_read_in_their_units(tmp_path: Path) -> None:
    thermal = tmp_path / "class/thermal"
    write(thermal / "thermal_zone0/type", "cpu-thermal")
    write(thermal / "thermal_zone0/temp", "51250")
    write(thermal / "thermal_zone1/type", "cv0-thermal")
    (thermal / "thermal_zone1/temp").mkdir()  # Switched off: reading it fails.
    write(thermal / "thermal_zone2/type", "broken")
    write(thermal / "thermal_zone2/temp", "-256000")
    write(thermal / "cooling_device0/type", "pwm-fan")
    write(thermal / "cooling_device0/cur_state", "2")
    write(thermal / "cooling_device1/type", "cpufreq-cpu0")
    write(thermal / "cooling_device1/cur_state", "3")
    write(thermal / "cooling_device2/type", "devfreq-17000000.gpu")
    write(thermal / "cooling_device2/cur_state", "0")
    for core, now in enumerate((729600, 1510400)):
        cpu = tmp_path / f"devices/system/cpu/cpu{core}/cpufreq"
        write(cpu / "scaling_cur_freq", str(now))
        write(cpu / "scaling_max_freq", "1510400")
    write(tmp_path / "class/devfreq/17000000.gpu/cur_freq", "306000000")
    write(tmp_path / "class/devfreq/17000000.gpu/max_freq", "624750000")
    found = heat(tmp_path)
    assert found.celsius == {"cpu-thermal": 51.25}
    assert found.clocks_mhz == {"cpu slowest": 729.6, "cpu fastest": 1510.4, "gpu": 306.0}
    assert found.limits_mhz == {"cpu": 1510.4, "gpu": 624.75}
    assert found.throttled == ("cpufreq-cpu0",)


def test_a_machine_that_shows_nothing_is_no_error(tmp_path: Path) -> None:
    assert heat(tmp_path).celsius == {}
    assert heat(tmp_path).throttled == ()


@pytest.mark.alone
def test_a_process_sees_its_own_files_threads_and_memory(tmp_path: Path) -> None:
    gc.collect()  # What other tests left is not to go meanwhile.
    before = usage()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with (tmp_path / "open").open("w"):
        block = bytearray(64 * 2**20)
        during = usage()
    stop.set()
    thread.join()
    assert during.threads == before.threads + 1
    assert during.open_files == before.open_files + 1
    assert 60 < during.resident_mib - before.resident_mib < 80
    assert during.cpu_seconds >= before.cpu_seconds > 0
    del block
