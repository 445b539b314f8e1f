"""The Streamlit app: pages with no logic beyond wiring. Streamlit is imported by the pages only."""
