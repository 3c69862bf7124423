"""Systems to practise on and the proxy that puts faults between a connector and any system."""
