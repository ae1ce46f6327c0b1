"""A phone of ours on loopback, for the real adb: its protocol, a shell, files, and faults on demand.

The phone's file system is a folder of the host; its shell and commands are Android's own, mksh and toybox
(the host's where these are not installed), with absolute paths mapped into the folder, and getprop, dumpsys,
taskset, ... answering from files there. The loader ``ld-linux-aarch64.so.1``, when pushed, runs programs
under qemu-aarch64: what runs on a phone runs here.

Example::

    from android_harness import adb
    from tests.phone import AdbServer, Faults, Phone, TWO_CORES

    with AdbServer(tmp_path / "adb") as server, Phone(tmp_path / "phone") as phone:
        server.connect(phone)
        device = adb.choose(phone.serial, env=server.env)
        phone.machine.write("/sys/class/power_supply/battery/capacity", "12\\n")
        phone.machine.dumpsys("thermalservice", "Thermal Status: 3\\n")
        phone.machine.command("dumpsys", "...")           # a script of your own in the phone's PATH
        assert device.shell(["getprop", "ro.product.model"], timeout=10).stdout == "Pixel 6\\n"
        with device.folder() as remote:
            device.push(Path("model.tflite"), f"{remote}/model.tflite")
        assert phone.machine.path("/data/local/tmp").is_dir()    # the phone's files on the host
        phone.machine.pinned()                                    # what taskset was asked for
        phone.faults.login = "*** welcome ***\\n"                 # any fault, also while it runs
        phone.vanish(); phone.come_back()

``Phone(folder, clusters=TWO_CORES)`` has one little and one big core: a program that pins itself with
sched_setaffinity meets the host's cores, and hosts have as few as two.
"""

from tests.phone.device import Faults, Phone
from tests.phone.machine import PIXEL_6, TWO_CORES, Cluster
from tests.phone.server import AdbServer

__all__ = ["PIXEL_6", "TWO_CORES", "AdbServer", "Cluster", "Faults", "Phone"]
