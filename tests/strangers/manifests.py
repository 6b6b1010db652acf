"""Checks what holds between the manifests of one overlay, and of kinds that no validator here knows.

Usage: manifests.py FILE VOLUME_BYTES, where 0 is any. Every selector selects something, every port that is
named is there, no request is above its limit, and the server's volume has the size that the rules assume.
"""

import sys

import yaml

UNITS = {"Mi": 2**20, "Gi": 2**30, "m": 0.001, "": 1}


def amount(text):
    """A quantity of Kubernetes as a number."""
    digits = str(text).rstrip("Mim" + "G")
    return float(digits) * UNITS[str(text)[len(digits) :]]


def labels_match(selector, labels):
    """Whether a selector of labels alone selects these."""
    return all(labels.get(key) == value for key, value in selector["matchLabels"].items())


class Manifests:
    """The objects of one rendered overlay."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.objects = [found for found in yaml.safe_load_all(file) if found]

    def of(self, *kinds):
        """The objects of some kinds."""
        return [found for found in self.objects if found["kind"] in kinds]

    def pods(self, selector):
        """The templates of pods that a selector selects; there must be some."""
        templates = [found["spec"]["template"] for found in self.of("StatefulSet", "DaemonSet")]
        selected = [pod for pod in templates if labels_match(selector, pod["metadata"]["labels"])]
        assert selected, f"no pod has {selector}"
        return selected

    def ports(self, selector):
        """Names and numbers of all ports of the pods."""
        ports = [port for pod in self.pods(selector) for each in pod["spec"]["containers"] for port in each["ports"]]
        return {port["name"] for port in ports} | {port["containerPort"] for port in ports}

    def check_services(self):
        for service in self.of("Service"):
            ports = self.ports({"matchLabels": service["spec"]["selector"]})
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, service["metadata"]

    def check_policies(self):
        for policy in self.of("NetworkPolicy"):
            ports = self.ports(policy["spec"]["podSelector"])
            for rule in policy["spec"]["ingress"]:
                assert {port["port"] for port in rule["ports"]} <= ports, policy["metadata"]
            for rule in policy["spec"]["egress"]:
                for peer in rule["to"]:
                    if "podSelector" in peer:
                        theirs = self.ports(peer["podSelector"])
                        assert {port["port"] for port in rule["ports"]} <= theirs, policy["metadata"]
        for budget in self.of("PodDisruptionBudget"):
            self.pods(budget["spec"]["selector"])

    def check_monitors(self):
        for monitor in self.of("PodMonitor"):
            spec = monitor["spec"]
            assert {end["port"] for end in spec["podMetricsEndpoints"]} <= self.ports(spec["selector"])
            assert all(spec["jobLabel"] in pod["metadata"]["labels"] for pod in self.pods(spec["selector"]))
        for monitor in self.of("ServiceMonitor"):
            spec = monitor["spec"]
            wanted = {end["port"] for end in spec["endpoints"]}
            found = [
                service
                for service in self.of("Service")
                if labels_match(spec["selector"], service["metadata"].get("labels", {}))
                and wanted <= {port["name"] for port in service["spec"]["ports"]}
            ]
            assert len(found) == 1, f"{len(found)} services are scraped"
            assert spec["jobLabel"] in found[0]["metadata"]["labels"]

    def check_workloads(self, volume_bytes):
        priorities = {found["metadata"]["name"] for found in self.of("PriorityClass")}
        for workload in self.of("StatefulSet", "DaemonSet"):
            spec = workload["spec"]["template"]["spec"]
            assert spec.get("priorityClassName", "") in priorities | {""}, spec["priorityClassName"]
            for container in spec["containers"]:
                limits = container["resources"].get("limits", {})
                for what, most in limits.items():
                    assert amount(container["resources"]["requests"][what]) <= amount(most), container["name"]
            for claim in workload["spec"].get("volumeClaimTemplates", []):
                size = amount(claim["spec"]["resources"]["requests"]["storage"])
                assert volume_bytes in (0, size), f"the volume has {size} bytes, the rules assume {volume_bytes}"


def main():
    path, volume_bytes = sys.argv[1], int(sys.argv[2])
    manifests = Manifests(path)
    manifests.check_services()
    manifests.check_policies()
    manifests.check_monitors()
    manifests.check_workloads(volume_bytes)


main()
